//! Containers of dpl and of Docker Compose, field by field, over the corpus of manifests.

use std::process::Command;

use crate::support::{compose_command, repository};
use crate::support_engine::shared_engine;

#[test]
fn containers_are_what_compose_makes_of_the_same_manifest() {
    let compose = compose_command().expect("this test needs Docker Compose 2: run scripts/test.sh, which brings it");
    let output = Command::new("python3")
        .arg(repository().join("tests/engine/compose_fields.py"))
        .arg(env!("CARGO_BIN_EXE_dpl"))
        .arg(repository().join("tests/corpus"))
        .args(compose)
        .env("DOCKER_HOST", shared_engine())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (found, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{found}\n{said}");
    let compared = said.lines().filter(|line| line.ends_with(" containers")).count();
    assert!(compared >= 40, "{compared} manifests were compared: {said}");
}
