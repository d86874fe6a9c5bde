//! The protocol's parts on a real broker.

use async_nats::jetstream::{self, object_store::ObjectStore};
use shared::settings::{Environment, Mistakes, Settings as _};
use shared::stream::StreamSettings;
use shared::testing::broker::Broker as Server;
use shared::testing::until;
use shared::{stream, subject};

use super::*;
use crate::chunk::Place;
use crate::erased::Erased;
use crate::feed;
use crate::ring::Ring;
use crate::storage::jetstream::JetStream;

const ANN: &str = "ann@example.com";

/// A stream, and an eraser whose replica has heard nothing.
struct Scene {
    _server: Server,
    context: jetstream::Context,
    bucket: ObjectStore,
    work: Work,
}

impl Scene {
    async fn new() -> Scene {
        let server = Server::start().await;
        let context = jetstream::new(server.client().await);
        let settings = StreamSettings::read(&Environment::default(), &mut Mistakes::default()).expect("settings");
        stream::ensure(&context, &settings).await.expect("a stream");
        let bucket = context.get_object_store(stream::large_name("MANDRILL")).await.expect("a bucket");
        let mut mistakes = Mistakes::default();
        let environment = server.environment();
        let erase = EraseSettings::read(&environment, &mut mistakes).expect("settings");
        let broker = BrokerSettings::read(&environment, &mut mistakes).expect("settings");
        let mut connection = server.connection().await;
        connection.connected().await;
        let desk = Desk::open(&erase, &broker, &connection, "MANDRILL").await.expect("a desk").expect("who may");
        let reading = feed::context(connection.client(), feed::OPEN_TIMEOUT);
        let storage = Arc::new(JetStream::new(connection.client(), reading, "MANDRILL"));
        let work = Work { desk, storage, log: Arc::new(Log::new()) };
        Scene { _server: server, context, bucket, work }
    }

    /// Stores an event of a person, which names an original perhaps.
    async fn store(&self, person: &str, object: Option<&str>) -> u64 {
        let large = object.map(|object| format!(r#""_large":{{"object":"{object}","bytes":3}},"#));
        let event = format!(r#"{{{}"event":"open","msg":{{"email":"{person}"}}}}"#, large.unwrap_or_default());
        let subject = subject::of_event(&event::fields(&event));
        let ack = self.context.publish(subject, event.into()).await.expect("published");
        ack.await.expect("stored").sequence
    }

    async fn keep(&self, object: &str) {
        self.bucket.put(object, &mut &b"all"[..]).await.expect("put");
    }

    async fn is_kept(&self, object: &str) -> bool {
        self.bucket.info(object).await.is_ok_and(|info| !info.deleted)
    }

    async fn messages(&self) -> u64 {
        stream::info(&self.context, "MANDRILL").await.expect("the stream").state.messages
    }
}

#[tokio::test]
async fn originals_go_with_the_events_that_name_them_and_stay_where_a_later_one_does() {
    let scene = Scene::new().await;
    for object in ["gone", "shared", "later", "bobs"] {
        scene.keep(object).await;
    }
    scene.store(ANN, Some("gone")).await;
    scene.store("bob@example.com", Some("bobs")).await;
    let last = scene.store(ANN, Some("shared")).await;
    scene.store(ANN, Some("shared")).await;
    scene.store(ANN, Some("later")).await;
    let recipient = RecipientHash::of(ANN);
    let erase = async || take_away(&scene.work.desk, &*scene.work.storage, recipient, last).await;
    assert_eq!(erase().await, Ok(2));
    let kept = [scene.is_kept("gone").await, scene.is_kept("shared").await, scene.is_kept("later").await];
    assert_eq!((kept, scene.is_kept("bobs").await), ([false, true, true], true));
    assert_eq!((erase().await, scene.messages().await), (Ok(0), 3));
}

#[tokio::test]
async fn what_was_left_half_done_is_finished() {
    let scene = Scene::new().await;
    scene.keep("gone").await;
    scene.store(ANN, Some("gone")).await;
    scene.store("bob@example.com", None).await;
    // Its writer was ended after the tombstone, some time ago.
    let recipient = RecipientHash::of(ANN);
    let sequence = scene.work.desk.bury(recipient, tombstones::of_now()).await.expect("a tombstone");
    let epoch = scene.work.storage.span().await.expect("a span").epoch;
    let mut erased = Erased::nobody(epoch);
    erased.add(Tombstone { recipient, place: Place { sequence, stored_ms: 1 }, through: sequence - 1 });
    let mut ring = Ring::new(epoch, Place { sequence, stored_ms: 1 }, 1 << 20);
    ring.remember(erased);
    scene.work.log.open(ring);
    scene.work.log.live();
    let eraser = Eraser { work: Some(scene.work.clone()), places: Arc::new(Semaphore::new(1)) };
    let finishing = tokio::spawn(unfinished::run(eraser));
    until("it is finished", async || scene.messages().await == 2 && !scene.is_kept("gone").await).await;
    finishing.abort();
}

#[tokio::test]
async fn one_that_was_begun_lately_is_left_to_its_writer() {
    let scene = Scene::new().await;
    let epoch = scene.work.storage.span().await.expect("a span").epoch;
    let recipient = RecipientHash::of(ANN);
    let mut erased = Erased::nobody(epoch);
    erased.add(Tombstone { recipient, place: Place { sequence: 5, stored_ms: now_ms() }, through: 4 });
    let mut ring = Ring::new(epoch, Place::default(), 1 << 20);
    ring.remember(erased);
    scene.work.log.open(ring);
    assert_eq!(unfinished::next(&scene.work, None), None);
}
