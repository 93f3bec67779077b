//! What a person looks at: state, use of resources, logs, the dependency graph, a container to enter, an examination
//! for `doctor`. Changes nothing.

pub(in crate::services) mod dependencies;
pub(in crate::services) mod elsewhere;
pub(in crate::services) mod enter;
pub(in crate::services) mod examine;
pub(in crate::services) mod logs;
pub(in crate::services) mod stats;
pub(in crate::services) mod status;
