//! Releases, and packages for machines that no connection reaches.

mod full;
mod goals;
mod keys;
mod pack;
mod package;
mod place;
mod planned;
mod receipt;
mod release;
mod selected;
mod self_extracting;
mod signatures;
mod split;
mod unpack;

pub use keys::{KeyCommand, KeysReport, run as key};
pub use pack::{PackArguments, PackReport, run as pack};
pub use package::{PackageCommand, PackagePlanReport, PackageReport, run as package};
pub use receipt::{ReceiptArguments, ReceiptsReport, run as receipt};
pub use release::{ReleaseCommand, ReleasesReport, run as release};
pub use self_extracting::{InstallArguments, arguments as arguments_of_package, install};
pub use unpack::{UnpackArguments, UnpackReport, run as unpack};
