//! `prune all`, `prune device-group NAME`.

use super::failure::Failure;
use super::nouns::About;
use super::output::{plain_value, table};
use super::session::Session;
use crate::client::{Noun, Object};
use clap::Subcommand;
use serde_json::Value;

/// Remove the images that no container uses
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum Prune {
    /// On every device
    All,
    /// On every device of a group
    DeviceGroup {
        /// The device group
        name: String,
    },
}

impl Prune {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::All => {
                let reply = session.client().prune_all().await;
                let reply = reply.map_err(|error| session.explain(&error))?;
                session.output().reply(&reply, groups)
            }
            Self::DeviceGroup { name } => {
                let about = About { noun: Noun::DeviceGroup, name: &name };
                match session.client().prune_device_group(&name).await {
                    Ok(reply) => session.output().done(
                        &reply,
                        &format!("every device of `{name}` prunes at its next check-in"),
                    ),
                    Err(error) => Err(session.explain_about(about, error).await),
                }
            }
        }
    }
}

fn groups(reply: &Object) -> String {
    let ids = reply.get("prune_ids").and_then(Value::as_object);
    let rows = ids.into_iter().flatten().map(|(group, id)| vec![group.clone(), plain_value(id)]);
    table(&["DEVICE GROUP", "PRUNE ID"], rows.collect())
}
