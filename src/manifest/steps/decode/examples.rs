//! What the value of a key looks like, for the error of a value of another kind.

use crate::report::Message;

/// Keys that people know from elsewhere in another form, and a value that the reader takes. A key that stands in two places
/// with two kinds of values has one of each.
const EXAMPLES: [(&str, &str); 44] = [
    ("paths", r#"{"images": "images", "data": "data"}"#),
    ("networks", r#"{"front": {}}"#),
    ("volumes", r#"["./data:/data"]"#),
    ("volumes", r#"{"data": {}}"#),
    ("databases", r#"{"shop": {"service": "db"}}"#),
    ("services", r#"{"web": {"image": "web:1"}}"#),
    ("image", r#""web:1""#),
    ("container_name", r#""web""#),
    ("groups", r#"["front"]"#),
    ("profiles", r#"["debug"]"#),
    ("command", r#"["sleep", "60"]"#),
    ("entrypoint", r#"["/start.sh"]"#),
    ("environment", r#"{"NAME": "value"}"#),
    ("env_file", r#"["web.env"]"#),
    ("ports", r#"["8080:80"]"#),
    ("expose", r#"["80"]"#),
    ("tmpfs", r#"["/tmp"]"#),
    ("network_mode", r#""host""#),
    ("depends_on", r#"{"db": {"condition": "service_healthy"}}"#),
    ("healthcheck", r#"{"test": ["CMD", "true"], "interval": "10s"}"#),
    ("test", r#"["CMD", "true"]"#),
    ("ready", r#"{"running_for": "10s"}"#),
    ("http", r#"{"port": 80, "path": "/health"}"#),
    ("running_for", r#""10s""#),
    ("timeout", r#""30s""#),
    ("restart", r#""unless-stopped""#),
    ("gpus", r#"[{"count": 1}]"#),
    ("devices", r#"["/dev/fuse"]"#),
    ("cap_add", r#"["NET_ADMIN"]"#),
    ("cap_drop", r#"["ALL"]"#),
    ("security_opt", r#"["no-new-privileges"]"#),
    ("stop_signal", r#""SIGTERM""#),
    ("group_add", r#"["audio"]"#),
    ("ulimits", r#"{"nofile": 65536}"#),
    ("sysctls", r#"{"net.core.somaxconn": "1024"}"#),
    ("extra_hosts", r#"{"db.local": "10.0.0.9"}"#),
    ("dns", r#"["10.0.0.1"]"#),
    ("links", r#"["db"]"#),
    ("labels", r#"{"owner": "shop"}"#),
    ("annotations", r#"{"owner": "shop"}"#),
    ("logging", r#"{"driver": "json-file", "options": {"max-size": "10m"}}"#),
    ("driver_opts", r#"{"type": "none"}"#),
    ("ipam", r#"{"config": [{"subnet": "10.1.0.0/16"}]}"#),
    ("retention", r#"{"keep_last": 3}"#),
];

/// `"KEY": VALUE` with a value of the kind that is wanted, for keys that have an example of it.
pub(super) fn example(key: &str, wanted: &Message) -> Option<String> {
    let is_wanted = |value: &str| match value.as_bytes()[0] {
        b'{' => *wanted == message!("kind-object"),
        b'[' => *wanted == message!("kind-list"),
        _ => *wanted == message!("kind-string"),
    };
    let (key, value) = EXAMPLES.iter().find(|(name, value)| *name == key && is_wanted(value))?;
    Some(format!("\"{key}\": {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_two_kinds_has_an_example_of_each() {
        let of = |key, wanted| example(key, &wanted);
        assert_eq!(of("volumes", message!("kind-list")).as_deref(), Some(r#""volumes": ["./data:/data"]"#));
        assert_eq!(of("volumes", message!("kind-object")).as_deref(), Some(r#""volumes": {"data": {}}"#));
        assert_eq!(of("ready", message!("kind-list")), None);
        assert_eq!(of("colour", message!("kind-object")), None);
    }

    #[test]
    fn every_example_is_json() {
        for (key, value) in EXAMPLES {
            assert!(serde_json::from_str::<serde_json::Value>(value).is_ok(), "{key}");
        }
    }
}
