//! The replica sets of three on which these tests run: one that nobody breaks, and one that is
//! broken by one test at a time.

use crate::servers::MongoServers;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

const MEMBERS: usize = 3;

/// The set that nobody breaks; each test has a database of its own there. It goes with the run.
pub(crate) async fn steady() -> &'static MongoServers {
    static SET: OnceCell<MongoServers> = OnceCell::const_new();
    SET.get_or_init(|| MongoServers::start("cluster", &["--members", "3"])).await
}

/// The set that may be broken, whole again, for as long as the guard lives.
pub(crate) async fn breakable() -> (&'static MongoServers, MutexGuard<'static, ()>) {
    static SET: OnceCell<MongoServers> = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let set = SET.get_or_init(|| MongoServers::start("broken", &["--members", "3"])).await;
    // A test that failed leaves what it broke.
    for member in 0..MEMBERS {
        set.heal(member).await;
        set.start_again(member).await;
        set.resume(member);
    }
    set.primary().await;
    (set, turn)
}
