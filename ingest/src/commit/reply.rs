//! What the broker says to a publish.
//!
//! **Owns** the reading of acknowledgements and error codes. Pure. Codes are from the server's
//! `errors.json`; what each leads to was found by experiment (docs/NATS.md).

use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;

/// A publish's fate as the broker tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// On disk; `duplicate` where it was before.
    Stored { duplicate: bool },
    /// A batch that holds an id the stream has, or one id twice: nothing of it was stored.
    DuplicateInBatch,
    /// The probe of an id that the stream has not.
    WrongLast,
    /// Not decided, or not now: try again.
    Unknown(String),
    /// The stream takes no atomic batches, or none of this size.
    NoBatches,
    /// No.
    Refused(String),
}

#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(default)]
    error: Option<jetstream::Error>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    count: usize,
}

/// Reads the reply to a message on its own, or (with `count`) to the last of a batch.
pub(super) fn read(payload: &[u8], count: Option<usize>) -> Reply {
    let Ok(reply) = serde_json::from_slice::<Acknowledgement>(payload) else {
        return Reply::Unknown("an acknowledgement that is no JSON".to_owned());
    };
    let Some(error) = reply.error else {
        // An acknowledgement of part of a batch would be a server we do not know.
        let whole = count.is_none_or(|count| reply.count == count);
        return if reply.seq > 0 && whole {
            Reply::Stored { duplicate: reply.duplicate }
        } else {
            Reply::Unknown("an acknowledgement of something else".to_owned())
        };
    };
    match error.error_code() {
        ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE => Reply::DuplicateInBatch,
        ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID => Reply::WrongLast,
        // The same id is in process elsewhere; the batch lost its start, or its leader; too many batches
        // are open; the cluster has no leader.
        ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT
        | ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH
        | ErrorCode::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT
        | ErrorCode::CLUSTER_NOT_AVAILABLE
        | ErrorCode::CLUSTER_NOT_LEADER => Reply::Unknown(error.to_string()),
        ErrorCode::ATOMIC_PUBLISH_DISABLED | ErrorCode::ATOMIC_PUBLISH_TOO_LARGE_BATCH => Reply::NoBatches,
        _ => Reply::Refused(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn acknowledgements_and_errors_are_told_apart() {
        let check = |payload: &str, count, reply| assert_eq!(read(payload.as_bytes(), count), reply, "{payload}");
        check(r#"{"stream":"MANDRILL","seq":7}"#, None, Reply::Stored { duplicate: false });
        check(r#"{"stream":"MANDRILL","seq":7,"duplicate":true}"#, None, Reply::Stored { duplicate: true });
        check(r#"{"stream":"MANDRILL","seq":9,"batch":"b","count":3}"#, Some(3), Reply::Stored { duplicate: false });
        let error = |code: u32| format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"d"}}}}"#);
        check(&error(10201), Some(3), Reply::DuplicateInBatch);
        check(&error(10070), None, Reply::WrongLast);
        check(&error(10158), None, Reply::Unknown("d (code 400, error code 10158)".to_owned()));
        check(&error(10047), None, Reply::Refused("d (code 400, error code 10047)".to_owned()));
    }

    #[test]
    fn an_acknowledgement_of_less_than_the_batch_is_none() {
        for payload in
            [r#"{"stream":"MANDRILL","seq":9,"batch":"b","count":2}"#, r#"{"stream":"MANDRILL"}"#, "{}", "", "+ACK"]
        {
            assert!(matches!(read(payload.as_bytes(), Some(3)), Reply::Unknown(_)), "{payload}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_a_reply(payload: Vec<u8>) {
            let _ = read(&payload, None);
        }
    }
}
