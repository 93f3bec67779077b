//! What the commands on services take.

use clap::Args;

use super::TargetArguments;

#[derive(Debug, Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub wish: WishArguments,
    /// Exit with code 6 when there is something to do
    #[arg(long)]
    pub exit_code: bool,
}

impl PlanArguments {
    /// The plan as nothing but targets asks for it.
    pub fn of(targets: TargetArguments) -> Self {
        Self { targets, wish: WishArguments::default(), exit_code: false }
    }
}

/// What decides about a plan that starts something.
#[derive(Debug, Default, Args)]
pub struct WishArguments {
    /// Do not start or wait for the services that the chosen ones depend on
    #[arg(long)]
    pub no_deps: bool,
    /// Recreate the containers of the chosen services, changed or not
    #[arg(long)]
    pub force_recreate: bool,
    /// Recreate networks that differ from the manifest, with everything that runs in them
    #[arg(long)]
    pub recreate_networks: bool,
    /// Take over containers that have the right names but were not created by dpl
    #[arg(long)]
    pub adopt: bool,
    /// With `all`: include the services of this profile; can be repeated [default: none]
    #[arg(long, value_name = "NAME", env = "DPL_PROFILES", hide_env_values = true, value_delimiter = ',')]
    pub profile: Vec<String>,
}

#[derive(Debug, Args)]
pub struct StartArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub wish: WishArguments,
    /// How many containers are created or started at once [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// How long one service may take to become ready [default: as in the manifest, else 5m with a health check, 2m
    /// without]
    #[arg(long, value_name = "TIME")]
    pub wait_timeout: Option<String>,
    /// Do not wait until services are ready, except where another service or a replacement depends on it
    #[arg(long, conflicts_with = "wait_timeout")]
    pub no_wait: bool,
    /// Keep the new container of a failed replacement, stopped, as NAME.dpl-failed
    #[arg(long)]
    pub keep_failed: bool,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Also remove their volumes with the data in them; volumes in use elsewhere stay
    #[arg(long)]
    pub volumes: bool,
    /// Also remove the project's networks that no container uses
    #[arg(long)]
    pub networks: bool,
    /// Also remove containers of services that the manifest no longer names; without targets only these
    #[arg(long)]
    pub orphans: bool,
}
