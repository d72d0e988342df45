//! What the service manager is told. Without a manager every call does nothing.

use sd_notify::NotifyState;

/// The database is open and the schedule stands.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// One line on how things are.
pub fn status(line: &str) {
    tell(NotifyState::Status(line));
}

/// The daemon is on its way out.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("failed to notify the service manager: {error}");
    }
}
