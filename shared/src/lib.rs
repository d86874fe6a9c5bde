//! What mandrill-live's services and its command line have in common.
//!
//! # Layout
//! Mandrill's side: [`event`] (its JSON), [`form`] and [`signature`] (its requests), `synthetic`
//! (events like its own), [`commas`] (several values in one text). The broker's side: [`broker`] (the connection), [`stream`] (where events are
//! kept), [`subject`] (under which names), [`cursor`] (a place among them). A session's side: [`close`]. A process's side:
//! [`command`], [`settings`], [`telemetry`], [`admin`], [`drain`], [`vital`], [`http`], [`client`], [`serve`], [`origin`],
//! [`problem`].
//!
//! Nothing here knows of a route, a session or a commit.

pub mod admin;
pub mod broker;
pub mod client;
pub mod close;
pub mod command;
pub mod commas;
pub mod cursor;
pub mod drain;
pub mod event;
pub mod form;
pub mod http;
#[cfg(any(test, feature = "invariants"))]
pub mod invariants;
pub mod origin;
pub mod pace;
pub mod probe;
pub mod problem;
pub mod serve;
pub mod settings;
pub mod signature;
pub mod spans;
pub mod stream;
pub mod subject;
pub mod synthetic;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod vital;
