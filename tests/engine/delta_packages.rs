//! Packages with deltas, for a machine whose engine has what they are made of and whose image store has not.

use std::fs;

use crate::images::bench::{Bench, Recipe, layer};
use crate::support::Site;
use crate::support_engine::{shared_engine, unique};
use crate::support_library::library;

#[tokio::test]
async fn what_a_layer_is_rebuilt_from_comes_out_of_the_engine_where_the_store_has_it_not() {
    comes_out_of_the_engine("dp", |recipe| recipe).await;
}

/// The containerd store keeps layers as they came, and exports them so.
#[tokio::test]
async fn what_a_layer_is_rebuilt_from_may_be_compressed_in_the_engine() {
    comes_out_of_the_engine("dz", Recipe::compressed).await;
}

/// Whatever engine it is: the machine's image is loaded `as_it_came`.
async fn comes_out_of_the_engine(name: &str, as_it_came: fn(Recipe) -> Recipe) {
    let bench = Bench::new(name).await;
    let (mut desk, mut vault) = (Site::new(), Site::new());
    for site in [&mut desk, &mut vault] {
        site.set("DOCKER_HOST", shared_engine());
    }
    // Of no other run of this test: an engine keeps layers by what they hold.
    let (base, run) = (layer(50_000), unique("r"));
    let old = || Recipe::of([base.clone(), library(&run)]);
    let new = Recipe::of([base.clone(), library(&format!("{run}, changed"))]);
    let image = bench.name("web:1");
    let stack = format!(
        r#"{{"project": "{}", "paths": {{"images": "store"}}, "services": {{"web": {{"image": "{image}"}}}}}}"#,
        unique("p")
    );
    desk.write("stack.json", &stack);
    let at_desk = |arguments: &[&str]| desk.run(&[&["-f", "stack.json"], arguments].concat()).success();
    let mut made = Vec::new();
    for (recipe, release) in [(&old(), "v1"), (&new, "v2")] {
        made.push(bench.make("web:1", recipe).await);
        at_desk(&["save"]);
        at_desk(&["release", "create", release]);
        bench.wipe(&["web:1"]).await;
    }
    // The machine has run the first release since before it had an image store.
    bench.make("web:1", &as_it_came(old())).await;
    let inventory = vault.run(&["inventory"]).success().stdout;
    desk.write("vault.json", &inventory);
    let package = desk.file("v2.tar").display().to_string();
    let pack = ["--json", "pack", "--release", "v2", "--for", "vault.json", "--unsigned", "--output", &package];
    let packed = at_desk(&pack).json();
    assert_eq!(packed["deltas"]["layers"], 1, "{packed}");
    assert!(fs::metadata(&package).unwrap().len() < 100_000, "{packed}");

    let said = vault.run(&["--json", "--yes", "unpack", &package]).success().json();
    assert_eq!(said["plan"]["deltas"][0]["bases"][0]["engine_image"], image.as_str(), "{said}");
    assert_eq!(said["receipt"]["rebuilt_layers"], 1, "{said}");
    vault.run(&["-f", "stack.json", "load", "--yes"]).success();
    bench.assert_is("web:1", &made[1]).await;
    assert!(bench.can_be_exported("web:1", &made[1]).await);
    bench.wipe(&["web:1"]).await;
}
