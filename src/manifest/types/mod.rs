//! Values that a string stands for in the manifest: sizes, durations, CPUs, image references.
//!
//! Each parses from the text that people write and prints in one canonical form that parses to the same value.

mod byte_size;
mod cpus;
mod period;
mod reference;
mod words;

pub use byte_size::ByteSize;
pub use cpus::Cpus;
pub use period::Period;
pub use reference::Reference;

/// The text is no value of that type; says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

/// Serialises through `Display`, and describes itself in the schema as a string beside other forms.
macro_rules! text_value {
    ($type:ty, $name:literal, $schema:tt) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use text_value;
