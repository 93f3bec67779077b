//! The names of processor architectures: the kernel's and Rust's on one side, those of images on the other.

/// The name that images use (image-spec, "architecture": Go's `GOARCH`) for what a kernel (`uname -m`) or Rust
/// (`std::env::consts::ARCH`) calls it. A name that is not known is its own.
pub fn image_architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i486" | "i586" | "i686" | "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" => "ppc64le",
        arm if arm.starts_with("armv") => "arm",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_have_one_name_whoever_says_it() {
        for (name, expected) in [
            ("x86_64", "amd64"),
            ("amd64", "amd64"),
            ("aarch64", "arm64"),
            ("armv7l", "arm"),
            ("i686", "386"),
            ("x86", "386"),
            ("loongarch64", "loong64"),
            ("powerpc64", "ppc64le"),
            ("ppc64le", "ppc64le"),
            ("riscv64", "riscv64"),
        ] {
            assert_eq!(image_architecture(name), expected, "{name}");
        }
    }
}
