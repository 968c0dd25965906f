//! What the routes are about.

/// What kind of object a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// Apps.
    App,
    /// Device groups.
    DeviceGroup,
    /// Cron jobs.
    CronJob,
    /// Users.
    User,
    /// User groups.
    UserGroup,
}

impl Noun {
    /// Its part of the path, which is also the key of a list's reply.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::App => "apps",
            Self::DeviceGroup => "device_groups",
            Self::CronJob => "cron_jobs",
            Self::User => "users",
            Self::UserGroup => "user_groups",
        }
    }
}

/// What can be done to an app beside changing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run its replicas.
    Start,
    /// Stop its replicas everywhere.
    Stop,
    /// Pull its image and replace its replicas.
    Restart,
}

impl Action {
    /// The verb, as it stands in the path.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}
