//! The steps from nodes to the model, in their order: `variables` (with `env_file`), `long_form`, `merge` (`extends`
//! and `defaults`), `decode`. `read.rs` runs them.

pub(in crate::manifest) mod decode;
pub(in crate::manifest) mod env_file;
pub(in crate::manifest) mod long_form;
pub(in crate::manifest) mod merge;
pub(in crate::manifest) mod variables;
