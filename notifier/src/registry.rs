//! The sessions there are, by number.
//!
//! **Owns** the list that pings, announcements and the drain go over. **May not** write to a socket itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;

use crate::session::Session;

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Slab<Arc<Session>>>);

impl Registry {
    fn list(&self) -> MutexGuard<'_, Slab<Arc<Session>>> {
        // A slab is whole between its methods: a panic elsewhere cannot have left it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session, for as long as what is returned lives.
    pub(crate) fn add(self: &Arc<Registry>, session: Arc<Session>) -> Registered {
        let slot = self.list().insert(session);
        Registered { registry: Arc::clone(self), slot }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.list().iter().map(|(_, session)| Arc::clone(session)).collect()
    }

    /// Those whose slot leaves `offset` when divided by `stride`, with their slots: one in `stride`, whoever
    /// comes and goes meanwhile.
    pub(crate) fn one_in(&self, stride: usize, offset: usize) -> Vec<(usize, Arc<Session>)> {
        let list = self.list();
        let slots = (offset..list.capacity()).step_by(stride.max(1));
        slots.filter_map(|slot| Some((slot, Arc::clone(list.get(slot)?)))).collect()
    }
}

/// A session's place in the list.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    slot: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.list().try_remove(self.slot);
    }
}
