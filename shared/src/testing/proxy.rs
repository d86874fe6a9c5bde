//! A wire between two processes, with weather: it delays, throttles, holds back, cuts, and heals.
//!
//! Made before one address; whoever connects to it is connected to that. Changes hold for the connections
//! there are and for new ones. Bytes are never changed, and none are lost on a connection that stays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// What is read at once.
const PIECE_BYTES: usize = 16 << 10;
/// What is on its way in one direction: beyond it the sender waits, as on any wire.
const ON_THE_WAY_BYTES: u32 = 64 << 10;
/// What the kernel may hold at each end, so that one end soon notices that the other does not read. It doubles the
/// number for its own needs.
const KERNEL_BYTES: u32 = 32 << 10;

/// Connections that may wait to be taken.
const BACKLOG: u32 = 1024;

/// The weather on a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weather {
    /// Everything goes through at once.
    #[default]
    Clear,
    /// Everything arrives so much later, in both directions.
    Slow(Duration),
    /// No more bytes a second than this, in each direction of each connection.
    Narrow(u32),
    /// Connections stay and can be made, and nothing goes through: what was sent arrives when it clears.
    Silent,
    /// Connections are cut, and new ones are as soon as they are made.
    Cut,
}

/// One such wire, gone with its handle.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    sky: watch::Sender<Sky>,
    accepts: JoinHandle<()>,
}

/// What all connections see.
#[derive(Debug, Clone, Copy, Default)]
struct Sky {
    weather: Weather,
    /// A connection that was made under a lower number is cut.
    cuts: u64,
}

impl Proxy {
    /// A wire to `target` in clear weather.
    pub async fn before(target: SocketAddr) -> Proxy {
        let socket = narrow().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let listener = socket.listen(BACKLOG).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (sky, seen) = watch::channel(Sky::default());
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, target, seen.clone()));
            }
        });
        Proxy { address, sky, accepts }
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The weather from now on.
    pub fn set(&self, weather: Weather) {
        self.sky.send_modify(|sky| {
            sky.weather = weather;
            sky.cuts += u64::from(weather == Weather::Cut);
        });
    }

    /// Cuts the connections there are; the weather stays.
    pub fn drop_connections(&self) {
        self.sky.send_modify(|sky| sky.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
        self.drop_connections();
    }
}

/// A socket for which the kernel holds little.
fn narrow() -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(KERNEL_BYTES)?;
    socket.set_send_buffer_size(KERNEL_BYTES)?;
    Ok(socket)
}

/// One connection from its first byte to its last.
async fn connection(client: TcpStream, target: SocketAddr, mut sky: watch::Receiver<Sky>) {
    let made = *sky.borrow_and_update();
    let mut cut = sky.clone();
    if made.weather == Weather::Cut {
        return;
    }
    let both = async {
        let server = narrow()?.connect(target).await?;
        // Delays are the weather's own.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::try_join!(way(from_client, to_server, sky.clone()), way(from_server, to_client, sky))
    };
    tokio::select! {
        _ = both => {}
        // Its handle is gone, or it was cut: both ends see the end of the connection.
        _ = cut.wait_for(|now| now.cuts > made.cuts) => {}
    }
}

/// What was read, and when.
struct Piece {
    read: Instant,
    bytes: Vec<u8>,
    /// Given back when it has been delivered.
    _room: OwnedSemaphorePermit,
}

/// One direction: what is read goes on when its time has come. An end is passed on as an end.
async fn way(mut from: OwnedReadHalf, to: OwnedWriteHalf, sky: watch::Receiver<Sky>) -> std::io::Result<()> {
    let (sender, pieces) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(ON_THE_WAY_BYTES as usize));
    let read = async move {
        loop {
            let mut bytes = Vec::with_capacity(PIECE_BYTES);
            let count = from.read_buf(&mut bytes).await?;
            // Never closed, and a piece is smaller than all there is.
            let Ok(room) = Arc::clone(&room).acquire_many_owned(count as u32).await else { return Ok(()) };
            if count == 0 || sender.send(Piece { read: Instant::now(), bytes, _room: room }).is_err() {
                return Ok(());
            }
        }
    };
    tokio::try_join!(read, deliver(pieces, to, sky)).map(drop)
}

async fn deliver(
    mut pieces: mpsc::UnboundedReceiver<Piece>,
    mut to: OwnedWriteHalf,
    mut sky: watch::Receiver<Sky>,
) -> std::io::Result<()> {
    while let Some(piece) = pieces.recv().await {
        let mut rest = piece.bytes.as_slice();
        while !rest.is_empty() {
            let weather = sky.borrow_and_update().weather;
            let take = match weather {
                Weather::Clear | Weather::Cut => rest.len(),
                Weather::Slow(delay) => {
                    tokio::select! { () = sleep_until(piece.read + delay) => {}, _ = sky.changed() => continue }
                    rest.len()
                }
                // A tenth of a second's worth at a time, so that a narrow wire is one and not a slow one.
                Weather::Narrow(bytes) => {
                    let take = rest.len().min(bytes as usize / 10).max(1);
                    let pause = Duration::from_secs_f64(take as f64 / f64::from(bytes.max(1)));
                    tokio::select! { () = sleep(pause) => {}, _ = sky.changed() => continue }
                    take
                }
                Weather::Silent => {
                    if sky.changed().await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            };
            to.write_all(&rest[..take]).await?;
            rest = &rest[take..];
        }
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::soon;
    use tokio::net::TcpListener;

    /// A wire to a server that gives back what it gets, and a connection over it.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let target = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
            }
        });
        let proxy = Proxy::before(target).await;
        let client = TcpStream::connect(proxy.address()).await.expect("connected");
        (proxy, client)
    }

    async fn goes_through(client: &mut TcpStream, bytes: &[u8]) {
        client.write_all(bytes).await.expect("sent");
        let mut back = vec![0; bytes.len()];
        soon("it comes back", client.read_exact(&mut back)).await.expect("whole");
        assert!(back == bytes, "unchanged");
    }

    async fn is_cut(client: &mut TcpStream) {
        let end = soon("it is cut", client.read(&mut [0; 1])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }

    #[tokio::test]
    async fn in_every_weather_but_a_cut_all_bytes_arrive_in_the_end() {
        let (proxy, client) = echo().await;
        let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        let sent = bytes.clone();
        let (mut from, mut to) = client.into_split();
        let write = tokio::spawn(async move {
            to.write_all(&sent).await.expect("sent");
            to.shutdown().await.expect("ended");
        });
        let mut back = Vec::new();
        let weathers = [Weather::Slow(Duration::from_millis(50)), Weather::Narrow(1 << 20), Weather::Silent];
        for weather in weathers {
            proxy.set(weather);
            if weather != Weather::Silent {
                soon("some of it", from.read_buf(&mut back)).await.expect("bytes");
            }
        }
        proxy.set(Weather::Clear);
        soon("the rest and the end", from.read_to_end(&mut back)).await.expect("bytes");
        assert!(back == bytes, "unchanged");
        write.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_slow_wire_delays_and_a_silent_one_holds_back() {
        let (proxy, mut client) = echo().await;
        goes_through(&mut client, b"clear").await;
        proxy.set(Weather::Slow(Duration::from_millis(40)));
        let before = Instant::now();
        goes_through(&mut client, b"there and back").await;
        assert!(before.elapsed() >= Duration::from_millis(80));
        proxy.set(Weather::Silent);
        client.write_all(b"later").await.expect("sent");
        let early = tokio::time::timeout(Duration::from_millis(100), client.read(&mut [0; 5])).await;
        assert!(early.is_err(), "nothing goes through: {early:?}");
        proxy.set(Weather::Clear);
        let mut back = [0; 5];
        soon("it comes", client.read_exact(&mut back)).await.expect("whole");
        assert_eq!(&back, b"later");
    }

    #[tokio::test]
    async fn cut_it_takes_nobody_until_it_clears() {
        let (proxy, mut client) = echo().await;
        goes_through(&mut client, b"before").await;
        proxy.set(Weather::Cut);
        is_cut(&mut client).await;
        let mut another = TcpStream::connect(proxy.address()).await.expect("taken at first");
        is_cut(&mut another).await;
        proxy.set(Weather::Clear);
        let mut another = TcpStream::connect(proxy.address()).await.expect("connected");
        goes_through(&mut another, b"after").await;
        proxy.drop_connections();
        is_cut(&mut another).await;
        let mut last = TcpStream::connect(proxy.address()).await.expect("connected");
        goes_through(&mut last, b"those of before only").await;
        drop(proxy);
        is_cut(&mut last).await;
    }
}
