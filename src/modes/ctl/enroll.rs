//! `device-groups enroll`: a one-time token with which devices enroll themselves.

use super::device_groups::group;
use super::failure::Failure;
use super::output::{self, plain_value, printable};
use super::rollout::is_unknown_route;
use super::session::Session;
use super::times;
use crate::client::Object;
use clap::Args;
use serde_json::Value;

/// For how long a token may be good, as the manager bounds it: a minute to thirty days.
const TTL_SECONDS: std::ops::RangeInclusive<i64> = 60..=2_592_000;

/// Make a one-time token with which devices of a group enroll themselves
#[derive(Debug, Args)]
#[command(after_help = "\
The token alone goes to stdout. Start a device's worker with it as `enrollment_token` (environment
NEBULA_ENROLLMENT_TOKEN, or its file NEBULA_ENROLLMENT_TOKEN_FILE): the device makes a credential
of its own with it, keeps that, and needs the token no more.")]
pub(super) struct Enroll {
    /// The device group
    name: String,
    /// How many devices may enroll with it [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    devices: Option<u32>,
    /// For how long it is good, as 90s, 30m, 24h or 7d [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<i64>,
}

fn ttl(text: &str) -> Result<i64, String> {
    let seconds = times::length(text).filter(|seconds| TTL_SECONDS.contains(seconds));
    seconds.ok_or_else(|| "expected a time from `60s` to `30d`, such as `24h`".to_owned())
}

impl Enroll {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let given = [
            ("devices", self.devices.map(Value::from)),
            ("ttl_seconds", self.ttl.map(Value::from)),
        ];
        let body: Object =
            given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        let reply = match session.client().new_enrollment(&self.name, &body).await {
            Ok(reply) => reply,
            Err(error) if is_unknown_route(&error) => {
                return Err(Failure::new("this manager knows no credentials of devices")
                    .hint("it is the original, or older than this `nebula ctl`"));
            }
            Err(error) => return Err(session.explain_about(group(&self.name), error).await),
        };
        let said = |key: &str| reply.content.get(key).map(plain_value).unwrap_or_default();
        let token = printable(&said("enrollment_token"));
        if token.is_empty() {
            return Err(Failure::new("the manager shows no enrollment token"));
        }
        session.output().reply(&reply, |_| format!("{token}\n"))?;
        if session.output().is_table() {
            let devices = match said("devices").as_str() {
                "1" => "one device".to_owned(),
                devices => format!("{devices} devices"),
            };
            let until = reply.content.get("expires_at").and_then(Value::as_i64);
            let until = until.map_or_else(String::new, |at| format!(" until {}", times::shown(at)));
            output::say(&printable(&format!(
                "enrollment token for {devices} of device group `{}`, good{until}; it will not be shown again",
                self.name
            )));
        }
        Ok(())
    }
}
