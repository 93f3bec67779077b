//! Archives that were made to hurt, each with what must become of it.

use std::cell::LazyCell;
use std::fs;

use serde_json::{Value, json};

use super::build::{Image, Tar, config_of, diff_ids, gzip, header, pax_record, zstd};
use super::{Case, Expected};

/// What a refusal must say.
fn refused(name: &'static str, bytes: Vec<u8>, words: &'static [&'static str]) -> Case {
    Case::archive(name, bytes, Expected::Refused(words))
}

fn loads(name: &'static str, bytes: Vec<u8>) -> Case {
    Case::archive(name, bytes, Expected::Loads)
}

pub fn all(outside: &str) -> Vec<Case> {
    [names(outside), links(outside), kinds(), sizes(), extensions(outside), ends(), many()].concat()
}

/// An archive with one more file under this name.
fn with_file(path: &str) -> Vec<u8> {
    Image::new("good").archive_with(|tar| tar.file(path, b"escaped"))
}

/// As [`with_file`], the name given in a PAX record, which takes any bytes.
fn with_pax_path(path: &[u8]) -> Vec<u8> {
    Image::new("good").archive_with(|tar| tar.pax("path", path).file("x", b"escaped"))
}

fn names(outside: &str) -> Vec<Case> {
    let long = "n".repeat(600);
    vec![
        refused("a name that leads out", with_file("../escaped"), &["../escaped", "leads out"]),
        refused("a name that leads out after a folder", with_file("a/../../escaped"), &["leads out"]),
        refused("a name that leads out behind a dot", with_file("./../escaped"), &["leads out"]),
        refused("a name that leads nowhere", with_file("a/.."), &["leads out"]),
        refused("the folder above", with_file(".."), &["leads out"]),
        refused("an absolute name", with_pax_path(format!("{outside}/escaped").as_bytes()), &["escaped", "absolute"]),
        refused("an absolute name with two slashes", with_file("//escaped"), &["absolute"]),
        refused("a name with a newline", with_file("a\nb"), &["a\\nb", "control"]),
        refused("a name with an escape sequence", with_file("\u{1b}[2Jb"), &["control"]),
        refused("a name with a DEL", with_file("a\u{7f}b"), &["control"]),
        refused("a name with a C1 control", with_file("a\u{9b}b"), &["control"]),
        refused("a name with a NUL", with_pax_path(b"a\0b"), &["a\\0b", "control"]),
        refused("a name that is no text", with_pax_path(b"\xff\xfe"), &["UTF-8"]),
        refused("a file without a name", with_pax_path(b""), &["no name"]),
        refused("a file called after its folder", with_file("./."), &["no name"]),
        refused("a name that is too long", with_pax_path(long.as_bytes()), &["too long"]),
        loads("a long name that is none of ours", with_pax_path(&[b'n'; 400])),
        loads("a name in another script", with_file("目录/文件")),
    ]
}

fn links(outside: &str) -> Vec<Case> {
    let good = Image::new("good");
    let absolute = format!("{outside}/x");
    let with = |change: &dyn Fn(Tar) -> Tar| good.archive_with(change);
    let first = good.layer_paths()[0].clone();
    // The image's lower layer is reached by way of links.
    let linked = |links: &dyn Fn(Tar) -> Tar| {
        let mut item = good.item(&["a:1"]);
        item["Layers"][0] = json!("to/layer.tar");
        links(good.files(Tar::default())).file("manifest.json", json!([item]).to_string().as_bytes()).end()
    };
    let chain = |count: usize| {
        move |tar: Tar| {
            (0..count)
                .fold(tar, |tar, at| tar.link(&format!("l{at}"), &format!("l{}", at + 1)))
                .hard_link("to/layer.tar", "l0")
        }
    };
    vec![
        refused(
            "a link to the root",
            with(&|tar| tar.link("x/layer.tar", "/etc/shadow")),
            &["x/layer.tar", "links out"],
        ),
        refused("a link that climbs out", with(&|tar| tar.link("x/layer.tar", "../../../etc/shadow")), &["links out"]),
        refused("a link to the folder above", with(&|tar| tar.link("x", "..")), &["links out"]),
        refused("a link to nothing", with(&|tar| tar.link("x", "")), &["links out"]),
        refused("a link with a newline", with(&|tar| tar.link("x", "a\nb")), &["links out"]),
        refused(
            "a link out, then a file behind it",
            with(&|tar| tar.link("d", outside).file("d/escaped", b"x")),
            &["links out"],
        ),
        refused(
            "a link inside, then a file behind it",
            with(&|tar| tar.link("d", "sub").file("d/escaped", b"x")),
            &["d/escaped", "behind a link"],
        ),
        refused("a link behind a link", with(&|tar| tar.link("d", "sub").link("d/e/f", "x")), &["behind a link"]),
        refused("a hard link that climbs out", with(&|tar| tar.hard_link("x", "../out")), &["links out"]),
        refused("a hard link to the root", with(&|tar| tar.hard_link("x", &absolute)), &["links out"]),
        refused("a link with a size", with(&|tar| tar.entry(b'2', b"x", b"y", 512, &[1; 512])), &["only files"]),
        refused(
            "layers that link to each other",
            linked(&|tar| tar.link("to/layer.tar", "../from").link("from", "to/layer.tar")),
            &["to/layer.tar"],
        ),
        refused(
            "a layer that links to itself",
            linked(&|tar| tar.link("to/layer.tar", "layer.tar")),
            &["to/layer.tar"],
        ),
        refused("a layer behind twenty links", linked(&chain(20)), &["to/layer.tar"]),
        refused(
            "a layer that links to what is not there",
            linked(&|tar| tar.link("to/layer.tar", "../nil")),
            &["to/layer.tar"],
        ),
        loads("a layer by a link", linked(&|tar| tar.link("to/layer.tar", &format!("../{first}")))),
        loads("a layer by a hard link", linked(&|tar| tar.hard_link("to/layer.tar", &first))),
        refused(
            "a manifest by a link",
            good.files(Tar::default()).file("m", b"[]").link("manifest.json", "m").end(),
            &["manifest.json"],
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let good = Image::new("good");
    let of = |kind: u8| good.archive_with(|tar| tar.entry(kind, b"x/layer.tar", b"", 0, b""));
    let wrong: &[&str] = &["x/layer.tar", "not that of a file"];
    let first = good.layers[0].clone();
    let contiguous = {
        let path = good.layer_paths()[0].clone();
        let tar = Tar::default().entry(b'7', path.as_bytes(), b"", first.len() as u64, &first);
        let tar = tar.file(&good.layer_paths()[1], &good.layers[1]).file(&good.config_name(), &good.config);
        tar.file("manifest.json", json!([good.item(&["a:1"])]).to_string().as_bytes()).end()
    };
    vec![
        refused("a character device", of(b'3'), wrong),
        refused("a block device", of(b'4'), wrong),
        refused("a pipe", of(b'6'), wrong),
        refused("a sparse file of GNU tar", of(b'S'), wrong),
        refused("a volume's label", of(b'V'), wrong),
        refused("a part of another volume", of(b'M'), wrong),
        refused("a kind that nobody knows", of(b'Z'), wrong),
        refused(
            "a sparse map",
            good.archive_with(|tar| tar.pax("GNU.sparse.major", b"1").file("x", b"1")),
            &["sparse"],
        ),
        refused(
            "a sparse map for all",
            good.archive_with(|tar| tar.extension(b'g', &pax_record("GNU.sparse.size", b"9")).file("x", b"1")),
            &["sparse"],
        ),
        loads("a contiguous file", contiguous),
        loads(
            "folders, some of them twice",
            good.archive_with(|tar| tar.entry(b'5', b"a/", b"", 0, b"").entry(b'5', b"a/", b"", 0, b"")),
        ),
        refused("a file twice", good.archive_with(|tar| tar.file("x", b"1").file("x", b"2")), &["`x`", "twice"]),
        refused(
            "a file twice, spelled otherwise",
            good.archive_with(|tar| tar.file("a/x", b"1").file("./a//x", b"2")),
            &["twice"],
        ),
        refused(
            "a file and a link of one name",
            good.archive_with(|tar| tar.link("x", "y").file("x", b"2")),
            &["twice"],
        ),
        refused("a layer twice", good.archive_with(|tar| tar.file(&good.layer_paths()[0], b"other")), &["twice"]),
        refused("a configuration twice", good.archive_with(|tar| tar.file(&good.config_name(), b"{}")), &["twice"]),
        refused(
            "two manifests",
            good.archive_with(|tar| tar.file("manifest.json", b"[]")),
            &["manifest.json", "twice"],
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let good = Image::new("good");
    let with = |change: &dyn Fn(Tar) -> Tar| good.archive_with(change);
    let field = |bytes: &[u8]| good.archive_with(|tar| tar.sized(bytes, "x", b"five."));
    let mut huge = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    huge[4] = 0x80;
    let mut exbibyte = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    exbibyte[4] = 0x10;
    vec![
        refused(
            "a PAX size above the header's",
            with(&|tar| tar.pax("size", b"1024").file("x", b"five.")),
            &["`x`", "two sizes"],
        ),
        refused(
            "a PAX size below the header's",
            with(&|tar| tar.pax("size", b"1").file("x", b"five.")),
            &["two sizes"],
        ),
        refused(
            "a PAX size beside none",
            with(&|tar| tar.pax("size", b"512").entry(b'0', b"x", b"", 0, &[1; 512])),
            &["two sizes"],
        ),
        refused(
            "two PAX sizes",
            with(&|tar| tar.pax("size", b"5").pax("size", b"6").file("x", b"five.")),
            &["described twice"],
        ),
        refused("a negative PAX size", with(&|tar| tar.pax("size", b"-5").file("x", b"five.")), &["malformed"]),
        refused("a PAX size with a sign", with(&|tar| tar.pax("size", b"+5").file("x", b"five.")), &["malformed"]),
        refused(
            "a PAX size beyond all numbers",
            with(&|tar| tar.pax("size", b"99999999999999999999").file("x", b"5")),
            &["malformed"],
        ),
        refused(
            "a PAX size of 1 EiB",
            with(&|tar| tar.pax("size", b"1152921504606846976").file("x", b"")),
            &["malformed"],
        ),
        loads("a PAX size that is the header's", with(&|tar| tar.pax("size", b"5").file("x", b"five."))),
        refused("a size of 2^63 bytes", field(&huge), &["beyond"]),
        refused("a size of 1 EiB", field(&exbibyte), &["beyond"]),
        refused("a size of all ones", field(&[0xff; 12]), &["not a number"]),
        refused("a size in words", field(b"five bytes.\0"), &["not a number"]),
        refused("a size with a sign", field(b"+0000000005\0"), &["not a number"]),
        refused("a size that is no octal", field(b"00000000009\0"), &["not a number"]),
        refused(
            "a size beyond the file",
            good.files(Tar::default()).sized(b"00077777777\0", "x", b"").end(),
            &["cut off"],
        ),
        refused("a size of 8 GiB", good.files(Tar::default()).sized(b"77777777777\0", "x", b"").end(), &["cut off"]),
    ]
}

fn extensions(outside: &str) -> Vec<Case> {
    let good = Image::new("good");
    let with = |change: &dyn Fn(Tar) -> Tar| good.archive_with(change);
    let absolute = format!("{outside}/escaped");
    let records = |records: &[u8]| good.archive_with(|tar| tar.extension(b'x', records).file("x", b"1"));
    let malformed: &[&str] = &["PAX", "malformed"];
    vec![
        refused("a PAX path that leads out", with_pax_path(b"../../escaped"), &["leads out"]),
        refused(
            "a PAX link that leads out",
            with(&|tar| tar.pax("linkpath", absolute.as_bytes()).link("x", "y")),
            &["links out"],
        ),
        refused(
            "two PAX paths",
            with(&|tar| tar.pax("path", b"a").pax("path", b"b").file("x", b"1")),
            &["described twice"],
        ),
        refused(
            "a long name beside a PAX path",
            with(&|tar| tar.extension(b'L', b"a\0").pax("path", b"b").file("x", b"1")),
            &["described twice"],
        ),
        refused(
            "two long names",
            with(&|tar| tar.extension(b'L', b"a\0").extension(b'L', b"b\0").file("x", b"1")),
            &["described twice"],
        ),
        refused(
            "a long name that leads out",
            with(&|tar| tar.extension(b'L', b"../../escaped\0").file("x", b"1")),
            &["leads out"],
        ),
        refused(
            "a long link that leads out",
            with(&|tar| tar.extension(b'K', absolute.as_bytes()).link("x", "y")),
            &["links out"],
        ),
        refused("a long name of a GiB", with(&|tar| tar.entry(b'L', b"x", b"", 1 << 30, b"")), &["too large"]),
        refused("PAX records of a GiB", with(&|tar| tar.entry(b'x', b"x", b"", 1 << 30, b"")), &["too large"]),
        refused("global records of a GiB", with(&|tar| tar.entry(b'g', b"x", b"", 1 << 30, b"")), &["too large"]),
        refused(
            "a path for all",
            with(&|tar| tar.extension(b'g', &pax_record("path", b"y")).file("x", b"1")),
            &["global"],
        ),
        refused(
            "a size for all",
            with(&|tar| tar.extension(b'g', &pax_record("size", b"9")).file("x", b"1")),
            &["global"],
        ),
        loads("a comment for all", with(&|tar| tar.extension(b'g', &pax_record("comment", b"hello")).file("x", b"1"))),
        refused("a record without a length", records(b"path=a\n"), malformed),
        refused("a record that is longer than all", records(b"99 path=a\n"), malformed),
        refused("a record without an end", records(b"9 path=a"), malformed),
        refused("a record shorter than its length", records(b"2 \n"), malformed),
        refused("a record of no length", records(b"0 path=a\n"), malformed),
        refused("a record of endless length", records(b"999999999999999999999 a=b\n"), malformed),
        refused("a record without a value", records(b"5 ab\n"), malformed),
        refused("an extension of nothing", good.files(Tar::default()).pax("path", b"y").end(), &["nothing follows"]),
    ]
}

fn ends() -> Vec<Case> {
    let good = Image::new("good");
    let whole = good.archive_with(|tar| tar);
    let mut broken = whole.clone();
    broken[512 + 600] ^= 1;
    let mut checksum = whole.clone();
    let second = 512 + good.layers[0].len();
    checksum[second + 150] = b'7';
    let packed = gzip(&whole);
    vec![
        refused("nothing", Vec::new(), &["a_1.tar"]),
        refused("a few bytes", b"tar".to_vec(), &["cut off"]),
        refused("zeros alone", vec![0; 10_240], &["not a tar"]),
        refused("text", b"hello\n".repeat(500), &["not a tar"]),
        refused("no end mark", whole[..whole.len() - 1024].to_vec(), &["cut off"]),
        refused("something behind the end", [whole.clone(), whole.clone()].concat(), &["follows its end"]),
        refused("a block of zeros inside", good.archive_with(|tar| tar.raw(&[0; 512])), &["follows its end"]),
        refused("a wrong checksum", checksum, &["checksum"]),
        refused("another layer than the image's", broken, &["does not unpack to"]),
        refused("gzip that breaks off", packed[..packed.len() / 2].to_vec(), &["a_1.tar"]),
        refused("gzip without its checksum", packed[..packed.len() - 8].to_vec(), &["a_1.tar"]),
        refused("zstd that breaks off", zstd(&whole)[..40].to_vec(), &["a_1.tar"]),
        loads("zeros up to a tape's block", [whole.clone(), vec![0; 100_000]].concat()),
        loads("gzip", packed.clone()),
        loads("gzip of two members", [gzip(&whole[..700]), gzip(&whole[700..])].concat()),
        loads("zstd", zstd(&whole)),
        loads("zstd of two frames", [zstd(&whole[..700]), zstd(&whole[700..])].concat()),
    ]
}

/// Too many of what is harmless alone: these need no room on disk, but would in memory. Each is made by the test that reads it.
fn many() -> Vec<Case> {
    let large = |name: &'static str, make: fn() -> Vec<u8>, words: &'static [&'static str]| {
        let bytes = LazyCell::new(make);
        Case::new(name, Expected::Refused(words), move |folder| fs::write(folder.join("a_1.tar"), &*bytes).unwrap())
            .large()
    };
    let million = || {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let folder = header(b'5', b"a/", b"", b"00000000000\0");
        for _ in 0..1_000_000 {
            std::io::Write::write_all(&mut encoder, &folder).unwrap();
        }
        encoder.finish().unwrap()
    };
    let long_names = || {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        for number in 0..25_000 {
            let path = format!("{number}{}", "n".repeat(450));
            let tar = Tar::default().pax("path", path.as_bytes()).link("x", "y");
            std::io::Write::write_all(&mut encoder, &tar.0).unwrap();
        }
        encoder.finish().unwrap()
    };
    let layers = || {
        let layers = (0..10_000).fold(Tar::default(), |tar, number| tar.file(&format!("{number}/layer.tar"), b""));
        zstd(&layers.end())
    };
    let documents = || {
        let documents = (0..5).fold(Tar::default(), |tar, number| {
            tar.file(&format!("{number}.json"), &[b"[".to_vec(), vec![b' '; (4 << 20) - 1]].concat())
        });
        zstd(&documents.end())
    };
    vec![
        large("a million entries", million, &["entries"]),
        large("names that fill memory", long_names, &["names"]),
        large("ten thousand layers", layers, &["layers"]),
        large("documents that fill memory", documents, &["documents"]),
    ]
}

/// What `manifest.json` and configurations may say, and what becomes of it.
pub fn documents() -> Vec<Case> {
    let (good, other) = (Image::new("good"), Image::new("other"));
    let item = good.item(&["a:1"]);
    let changed = |key: &str, value: Value| {
        let mut item = item.clone();
        item[key] = value;
        good.archive_named(&json!([item]).to_string())
    };
    let paths = good.layer_paths();
    let configured = |config: Value| {
        let image = Image { config: config.to_string().into_bytes(), ..good.clone() };
        image.archive_with(|tar| tar)
    };
    let ids = |ids: &[&str]| configured(config_of(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()));
    let both = |first: Value, second: Value| {
        let tar = other.files(good.files(Tar::default()));
        tar.file("manifest.json", json!([first, second]).to_string().as_bytes()).end()
    };
    let with_layer = |blob: Vec<u8>, plain: Vec<u8>| {
        let mut image = good.clone();
        image.layers[1] = plain;
        image.config = config_of(&diff_ids(&image.layers)).to_string().into_bytes();
        let tar = Tar::default().file("0", &image.layers[0]).file("1", &blob).file("c", &image.config);
        let manifest = json!([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["0", "1"]}]);
        tar.file("manifest.json", manifest.to_string().as_bytes()).end()
    };
    let plain = Tar::default().file("in-a-layer", b"x").end();
    let mut deep = config_of(&diff_ids(&good.layers));
    deep["config"] = (0..200).fold(json!(0), |inside, _| json!([inside]));
    let missing: &[&str] = &["a:1"];
    let wrong_config = Tar::default().file("0", &good.layers[0]).file("1", &good.layers[1]);
    let wrong_config = wrong_config.file(&other.config_name(), &good.config);
    let wrong_config = wrong_config
        .file(
            "manifest.json",
            json!([{"Config": other.config_name(), "RepoTags": ["a:1"], "Layers": ["0", "1"]}]).to_string().as_bytes(),
        )
        .end();
    vec![
        refused("no manifest.json", good.files(Tar::default()).end(), &["manifest.json"]),
        refused("a manifest.json that is no JSON", good.archive_named("[{"), &["manifest.json"]),
        refused("a manifest.json that is an object", good.archive_named("{}"), &["manifest.json"]),
        refused("a manifest.json of nothing", good.archive_named("[]"), missing),
        refused(
            "a manifest.json of 5 MiB",
            good.archive_named(&format!("[{}]", " ".repeat(5 << 20))),
            &["manifest.json", "too large"],
        ),
        refused(
            "a key twice",
            good.archive_named(&format!("[{}]", item.to_string().replacen('{', "{\"Config\":\"x\",", 1))),
            &["manifest.json"],
        ),
        refused(
            "keys in small letters",
            good.archive_named(&format!("[{}]", item.to_string().replace("Config", "config"))),
            &["manifest.json"],
        ),
        refused("a configuration that is not there", changed("Config", json!("nil.json")), &["nil.json", "missing"]),
        refused(
            "a configuration outside",
            changed("Config", json!("../../../etc/passwd")),
            &["../../../etc/passwd", "missing"],
        ),
        refused("a configuration at the root", changed("Config", json!("/etc/passwd")), &["/etc/passwd", "missing"]),
        refused("a layer that is not there", changed("Layers", json!([paths[0], "nil"])), &["nil", "missing"]),
        refused("a layer outside", changed("Layers", json!([paths[0], "../../etc/passwd"])), &["missing"]),
        refused("a layer too few", changed("Layers", json!([paths[0]])), &["1 layers and 2 diff IDs"]),
        refused(
            "a layer too many",
            changed("Layers", json!([paths[0], paths[1], paths[1]])),
            &["3 layers and 2 diff IDs"],
        ),
        refused("no layers", changed("Layers", Value::Null), &["0 layers and 2 diff IDs"]),
        refused("layers in another order", changed("Layers", json!([paths[1], paths[0]])), &["a_1.tar"]),
        refused("one layer for both", changed("Layers", json!([paths[0], paths[0]])), &["a_1.tar"]),
        refused("the configuration as a layer", changed("Layers", json!([paths[0], good.config_name()])), &["missing"]),
        refused("another image's configuration", wrong_config, &["does not match its digest"]),
        refused("no name", changed("RepoTags", Value::Null), missing),
        refused("another image's name", changed("RepoTags", json!(["b:1"])), missing),
        refused("a name that only looks like ours", changed("RepoTags", json!(["a:1\n"])), missing),
        refused("a name with a path", changed("RepoTags", json!(["../a:1", "./a:1"])), missing),
        refused("a name in capitals", changed("RepoTags", json!(["A:1"])), missing),
        refused("a name for two images", both(item.clone(), other.item(&["a:1"])), &["a:1", "two images"]),
        refused(
            "a name for two images, spelled otherwise",
            both(item.clone(), other.item(&["docker.io/library/a:1"])),
            &["a:1", "two images"],
        ),
        loads("names of others beside ours", changed("RepoTags", json!(["b:1", "dpl-kept:0123", "\u{1b}[2J", "a:1"]))),
        loads("another image beside ours", both(item.clone(), other.item(&["b:1"]))),
        loads("our image twice", both(item.clone(), item.clone())),
        refused("a diff ID that leads out", ids(&["sha256:../../../x", "sha256:../../../y"]), &["configuration"]),
        refused(
            "a diff ID in capitals",
            ids(&[&diff_ids(&good.layers)[0].to_uppercase(), &diff_ids(&good.layers)[1]]),
            &["configuration"],
        ),
        refused("a diff ID of another kind", ids(&["sha512:00", "sha512:11"]), &["configuration"]),
        refused(
            "a wrong diff ID",
            ids(&[&diff_ids(&good.layers)[0], &diff_ids(&other.layers)[1]]),
            &["does not unpack to"],
        ),
        refused("a configuration that is a list", configured(json!([])), &["configuration"]),
        refused("a configuration without layers", configured(json!({"os": "linux"})), &["configuration"]),
        refused("a deep configuration", configured(deep), &["configuration"]),
        loads("a layer that is gzip'd", with_layer(gzip(&plain), plain.clone())),
        loads("a layer that is zstd", with_layer(zstd(&plain), plain.clone())),
        refused("a gzip'd layer that breaks off", with_layer(gzip(&plain)[..60].to_vec(), plain.clone()), &["`1`"]),
        refused(
            "a gzip'd layer of something else",
            with_layer(gzip(b"other"), plain.clone()),
            &["`1`", "does not unpack to"],
        ),
        refused("an encrypted layer", with_layer(vec![0x5a; 700], plain), &["`1`", "does not unpack to"]),
    ]
}
