//! What the service manager is told (systemd's `sd_notify`): ready, stopping, alive.
//!
//! Without a service manager that listens, which its environment tells, nothing happens. A message
//! that cannot be sent is a line in the log and no more: whoever should have heard it finds out.

use sd_notify::NotifyState;

/// Says that the mode serves, or that its loop runs.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// Says that the mode is on its way to its end.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Says again and again that the mode is alive, as long as it is so, twice as often as is asked
/// for. It ends at once when nobody asks; who hears nothing for too long ends the process.
pub async fn watchdog(is_alive: impl Fn() -> bool) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((period / 2).max(std::time::Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        if is_alive() {
            tell(NotifyState::Watchdog);
        }
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
