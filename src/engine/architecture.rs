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

/// Whether a machine runs an image as it is: both by the names that images use. What is not known is taken to run; binfmt
/// may run what does not.
pub fn runs_natively(image: &str, machine: &str) -> bool {
    image == machine
        || image.is_empty()
        || machine.is_empty()
        || matches!((image, machine), ("386", "amd64") | ("arm", "arm64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_runs_its_own_images_and_those_of_its_32_bit_sibling() {
        for (image, machine, runs) in [
            ("amd64", "amd64", true),
            ("386", "amd64", true),
            ("arm", "arm64", true),
            ("", "amd64", true),
            ("arm64", "amd64", false),
            ("amd64", "386", false),
        ] {
            assert_eq!(runs_natively(image, machine), runs, "{image} on {machine}");
        }
    }

    #[test]
    fn architectures_have_one_name_whatever_program_says_it() {
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
