//! Services with profiles: they run only when one of their profiles is asked for, or when they are named themselves.

use std::collections::BTreeSet;

use crate::cli::text::failure::Failure;
use crate::manifest::{Manifest, Selection};
use crate::report::Listed;

/// Leaves out what was only meant by "all" and has profiles that nobody asked for.
pub fn awake(manifest: &Manifest, selection: Selection, profiles: &[String]) -> Result<Vec<String>, Failure> {
    let of = |name: &str| manifest.services.get(name).map(|service| service.profiles.as_slice()).unwrap_or_default();
    let known: BTreeSet<&str> = manifest.services.names().flat_map(of).map(String::as_str).collect();
    if let Some(unknown) = profiles.iter().find(|profile| !known.contains(profile.as_str())) {
        let hint = match known.is_empty() {
            true => message!("hint-no-profiles"),
            false => message!("hint-there-are", names = Listed::of(known)),
        };
        return Err(Failure::usage_with_hint(message!("usage-no-profile", profile = unknown), hint));
    }
    let is_awake = |name: &str| {
        let own = of(name);
        own.is_empty() || !selection.is_only_by_all(name) || own.iter().any(|profile| profiles.contains(profile))
    };
    Ok(selection.names().iter().filter(|name| is_awake(name)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Choices;
    use crate::manifest::model::Service;

    fn manifest() -> Manifest {
        let mut manifest = Manifest::default();
        for (name, profiles) in [("web", vec![]), ("debug", vec!["tools"]), ("gpu", vec!["tools", "gpu"])] {
            let profiles = profiles.into_iter().map(str::to_owned).collect();
            manifest.services.push(name.to_owned(), Some(Service { profiles, ..Service::default() }));
        }
        manifest
    }

    fn chosen(selectors: &[&str], profiles: &[&str]) -> Result<Vec<String>, Failure> {
        let profiles: Vec<String> = profiles.iter().map(|word| (*word).to_owned()).collect();
        let choices = Choices::services(&manifest());
        let selection = if selectors.is_empty() { choices.all() } else { choices.select(selectors)? };
        awake(&manifest(), selection, &profiles)
    }

    #[test]
    fn all_means_what_has_no_profile_or_one_that_is_asked_for() {
        assert_eq!(chosen(&[], &[]).unwrap(), ["web"]);
        assert_eq!(chosen(&["all"], &["gpu"]).unwrap(), ["web", "gpu"]);
        assert_eq!(chosen(&["all", "debug"], &[]).unwrap(), ["web", "debug"]);
        assert_eq!(chosen(&["debug"], &[]).unwrap(), ["debug"]);
        assert_eq!(chosen(&["!gpu"], &[]).unwrap(), ["web"], "all but one is meant by all as well");
        assert_eq!(chosen(&["all，!web"], &["gpu"]).unwrap(), ["gpu"], "a Chinese comma is a comma");
        assert_eq!(chosen(&["all，debug"], &[]).unwrap(), ["web", "debug"]);
        assert_eq!(chosen(&["1..3"], &[]).unwrap(), ["web", "debug", "gpu"], "numbers name what they mean");
        assert_eq!(chosen(&[], &["gup"]).unwrap_err().exit_code(), 2);
    }
}
