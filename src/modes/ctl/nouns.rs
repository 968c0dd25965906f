//! What the kinds of objects are called, here and in the API.

use crate::client::Noun;

/// The object that a request is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub noun: Noun,
    pub name: &'a str,
}

/// The words for one kind of object.
#[derive(Debug)]
pub(super) struct Words {
    /// What one of them is called.
    pub one: &'static str,
    /// The command for them.
    pub command: &'static str,
    /// The flag of a refusal that says whether the object exists.
    pub exists: &'static str,
    /// The field that is one higher after each change, where there is such a field.
    pub counter: Option<&'static str>,
    /// What becomes of the world when one is deleted.
    pub deletion: &'static str,
}

/// The words for a kind of object.
pub(super) const fn words(noun: Noun) -> Words {
    match noun {
        Noun::App => Words {
            one: "app",
            command: "apps",
            exists: "app_exists",
            counter: Some("app_id"),
            deletion: "its containers stop on every device",
        },
        Noun::DeviceGroup => Words {
            one: "device group",
            command: "device-groups",
            exists: "device_group_exists",
            counter: Some("device_group_id"),
            deletion: "its devices keep what they run and are told nothing more",
        },
        Noun::CronJob => Words {
            one: "cron job",
            command: "cron-jobs",
            exists: "cron_job_exists",
            counter: Some("cron_job_id"),
            deletion: "no device starts it any more",
        },
        Noun::User => Words {
            one: "user",
            command: "users",
            exists: "user_exists",
            counter: None,
            deletion: "the password and the token stop working; user groups keep the name",
        },
        Noun::UserGroup => Words {
            one: "user group",
            command: "user-groups",
            exists: "user_group_exists",
            counter: None,
            deletion: "its members lose what it grants",
        },
    }
}
