//! What a reload leaves as it was.
//!
//! Takes the configuration that serves and the newest one; gives a warning for each setting that only a restart takes
//! up. Pure.

use crate::config::Config;

/// Settings that are read once, when the process starts.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let (was, is) = (&old.remote_write, &new.remote_write);
    let changed = [
        ("remote_write.listen_address", was.listen_address != is.listen_address),
        (
            "remote_write.max_connections",
            was.max_connections != is.max_connections,
        ),
        (
            "remote_write.max_strangers_per_address",
            was.max_strangers_per_address != is.max_strangers_per_address,
        ),
        (
            "remote_write.max_connections_per_tenant",
            was.max_connections_per_tenant != is.max_connections_per_tenant,
        ),
        ("remote_write.proxy_protocol", was.proxy_protocol != is.proxy_protocol),
        (
            "remote_write.handshake_timeout",
            was.handshake_timeout != is.handshake_timeout,
        ),
        ("remote_write.header_timeout", was.header_timeout != is.header_timeout),
        ("remote_write.idle_timeout", was.idle_timeout != is.idle_timeout),
        (
            "admin.listen_address",
            old.admin.listen_address != new.admin.listen_address,
        ),
        ("state_dir", old.state_dir != new.state_dir),
        ("access_log", old.access_log != new.access_log),
        ("sandbox", old.sandbox != new.sandbox),
    ];
    changed
        .iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| format!("{key} has changed: restart to use it"))
        .collect()
}
