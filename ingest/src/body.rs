//! Reading a request's body within limits of size, time and memory.
//!
//! **Owns** those limits. Memory is reserved as bytes arrive: a sender that announces much and sends
//! little holds little.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::Refusal;

/// Between two pieces of a body.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first to the last piece: 64 MiB at 4 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
/// Reserved at once for a body whose length is announced: a full batch. The kernel gives no memory for
/// what was reserved and never written.
const RESERVE_MAX: usize = 4 << 20;
/// What is still read of a body after its refusal, so that the sender sees the answer and not a reset.
const LINGER_BYTES_MAX: usize = 1 << 20;
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The memory that all requests' bodies share.
#[derive(Debug, Clone)]
pub struct InFlight {
    places: Arc<Semaphore>,
    bytes_max: usize,
}

/// A body's part of that memory, given back on drop. It goes wherever the body's bytes go: a sender that leaves
/// takes its request's future with it, and not what a thread or a commit has of its body.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl InFlight {
    /// Of so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> InFlight {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        InFlight { places: Arc::new(Semaphore::new(bytes_max)), bytes_max }
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes_max.saturating_sub(self.places.available_permits())
    }

    fn take(&self, bytes: usize, held: &mut Held) -> Result<(), Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::Busy)?;
        let more = Arc::clone(&self.places).try_acquire_many_owned(bytes).map_err(|_| Refusal::Busy)?;
        match &mut held.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Reads the whole body.
///
/// # Errors
/// Where it is too large, too slow, broken off, or there is no memory for it now.
pub async fn read(body: &mut Incoming, bytes_max: u64, in_flight: &InFlight) -> Result<(BytesMut, Held), Refusal> {
    let announced = body.size_hint().lower();
    if announced > bytes_max {
        return Err(Refusal::TooLarge(bytes_max));
    }
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > in_flight.places.available_permits() {
        return Err(Refusal::Busy);
    }
    let mut held = Held::default();
    let mut bytes = BytesMut::with_capacity(announced.min(RESERVE_MAX));
    let deadline = Instant::now() + BODY_TIMEOUT;
    loop {
        let piece_deadline = deadline.min(Instant::now() + PIECE_TIMEOUT);
        let frame = match timeout_at(piece_deadline, body.frame()).await {
            Ok(Some(frame)) => frame.map_err(|_| Refusal::Aborted)?,
            Ok(None) => return Ok((bytes, held)),
            Err(_) => return Err(Refusal::Stalled),
        };
        let Ok(piece) = frame.into_data() else { continue };
        if (bytes.len() + piece.len()) as u64 > bytes_max {
            return Err(Refusal::TooLarge(bytes_max));
        }
        in_flight.take(piece.len(), &mut held)?;
        bytes.extend_from_slice(&piece);
    }
}

/// Reads a little of a refused body in the background. Dropping it at once would reset the connection,
/// and with it the answer that is still on its way.
pub fn linger(mut body: Incoming) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move {
        let discard = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, bytes::Bytes::len);
                if read > LINGER_BYTES_MAX {
                    return;
                }
            }
        };
        let _ = timeout(LINGER_TIMEOUT, discard).await;
    });
}
