//! What the commands on services take.

use clap::Args;

use super::TargetArguments;

#[derive(Debug, Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub wish: WishArguments,
    /// End with 6 where there is work
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
    /// Leave alone what the chosen services depend on, and don't wait for it
    #[arg(long)]
    pub no_deps: bool,
    /// Make the chosen services' containers anew, changed or not
    #[arg(long)]
    pub force_recreate: bool,
    /// Take over containers that dpl did not make and that have the names of its own
    #[arg(long)]
    pub adopt: bool,
    /// With `all`, take services of this profile too; may be given more than once [default: none]
    #[arg(long, value_name = "NAME", env = "DPL_PROFILES", hide_env_values = true, value_delimiter = ',')]
    pub profile: Vec<String>,
}

#[derive(Debug, Args)]
pub struct StartArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    #[command(flatten)]
    pub wish: WishArguments,
    /// How many containers are made or started at once [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// How long one service may take to become ready [default: as the manifest says, else 5m for a health check, 2m for other proofs]
    #[arg(long, value_name = "TIME")]
    pub wait_timeout: Option<String>,
    /// Wait only where a dependent, or the old container that is kept, needs to know
    #[arg(long, conflicts_with = "wait_timeout")]
    pub no_wait: bool,
    /// Keep a container that failed to replace another, stopped, as NAME.dpl-failed
    #[arg(long)]
    pub keep_failed: bool,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    #[command(flatten)]
    pub targets: TargetArguments,
    /// Their volumes too, with the data in them; what others use stays
    #[arg(long)]
    pub volumes: bool,
    /// The project's networks too, where no container is left in them
    #[arg(long)]
    pub networks: bool,
    /// Containers of services that the manifest no longer names, too; without targets these alone
    #[arg(long)]
    pub orphans: bool,
}
