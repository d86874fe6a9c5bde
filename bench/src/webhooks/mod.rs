//! Webhooks to disk: ingest beside a bare client of the same broker, and group commit beside none.
//!
//! [`batches`] has the comparisons, [`crossing`] what the broker makes of each size of commit. [`load`] posts,
//! [`bare`] is the client alone, [`singly`] a webhook without group commit.

mod bare;
pub(crate) mod batches;
pub(crate) mod crossing;
pub(crate) mod load;
mod report;
pub(crate) mod singly;
