use super::conditions::Direction;
use super::*;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Longer than anything here takes on a machine that is not broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is watched for in vain must be missing for so long.
const SILENCE: Duration = Duration::from_millis(150);
const MS: Duration = Duration::from_millis(1);

/// Somebody who sends back what he gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    });
    address
}

async fn link(conditions: Conditions) -> Link {
    let link = Link::open(conditions, 1).await.unwrap();
    link.set_target(Some(echo().await));
    link
}

async fn dial(link: &Link) -> TcpStream {
    let stream = timeout(PATIENCE, TcpStream::connect(("127.0.0.1", link.port()))).await.unwrap().unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn say(stream: &mut TcpStream, text: &str) {
    timeout(PATIENCE, stream.write_all(text.as_bytes())).await.unwrap().unwrap();
}

async fn hear(stream: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.expect("nothing was heard").unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

/// Waits until so many bytes were handed to the one who answers: how long that takes is the machine's affair.
async fn are_handed_on(link: &Link, bytes: u64) {
    let handed_on = async {
        while link.traffic().forward_bytes < bytes {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, handed_on).await.expect("nothing was handed on");
}

async fn hears_nothing(stream: &mut TcpStream) {
    let heard = timeout(SILENCE, stream.read(&mut [0; 16])).await;
    assert!(heard.is_err(), "heard {heard:?}");
}

/// That the connection ends with a reset, or at least at once.
async fn is_cut(stream: &mut TcpStream) {
    let mut buffer = [0; 16];
    let heard = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("the connection lives on");
    assert!(matches!(heard, Err(_) | Ok(0)), "heard {heard:?}");
}

#[tokio::test]
async fn bytes_pass_and_are_counted_and_an_end_is_handed_on() {
    let link = link(Conditions::default()).await;
    let mut stream = dial(&link).await;
    say(&mut stream, "hello").await;
    hear(&mut stream, "hello").await;
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0, "the echo has said all");
    let traffic = link.traffic();
    assert_eq!((traffic.forward_bytes, traffic.backward_bytes, traffic.connections, traffic.resets), (5, 5, 1, 0));
}

#[tokio::test]
async fn a_slow_line_is_slow_both_ways() {
    let link = link(Conditions::both(Way { delay: 60 * MS, ..Way::default() })).await;
    let mut stream = dial(&link).await;
    let started = Instant::now();
    say(&mut stream, "hello").await;
    hear(&mut stream, "hello").await;
    assert!(started.elapsed() >= 120 * MS, "took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_narrow_line_takes_its_time() {
    let narrow = Way { bytes_per_s: Some(100_000), ..Way::default() };
    let link = link(Conditions { forward: narrow, ..Conditions::default() }).await;
    let mut stream = dial(&link).await;
    let (text, started) = ("x".repeat(20_000), Instant::now());
    say(&mut stream, &text).await;
    hear(&mut stream, &text).await;
    assert!(started.elapsed() >= 190 * MS, "took {:?}", started.elapsed());
}

#[tokio::test]
async fn held_bytes_arrive_when_the_line_is_back() {
    let link = link(Conditions::default()).await;
    let mut stream = dial(&link).await;
    link.change(|conditions| conditions.set_cut(Some(Cut::Hold)));
    say(&mut stream, "hello").await;
    hears_nothing(&mut stream).await;
    link.change(|conditions| conditions.set_cut(None));
    hear(&mut stream, "hello").await;
    assert_eq!(link.traffic().resets, 0);
}

#[tokio::test]
async fn swallowed_bytes_are_gone_and_their_connection_ends_when_the_line_is_back() {
    let link = link(Conditions::default()).await;
    let mut stream = dial(&link).await;
    say(&mut stream, "before").await;
    hear(&mut stream, "before").await;
    link.change(|conditions| conditions.set_cut(Some(Cut::Swallow)));
    say(&mut stream, "lost").await;
    hears_nothing(&mut stream).await;
    let mut late = dial(&link).await;
    say(&mut late, "nobody hears this").await;
    hears_nothing(&mut late).await;
    link.change(|conditions| conditions.set_cut(None));
    is_cut(&mut stream).await;
    is_cut(&mut late).await;
    assert_eq!(link.traffic().swallowed_bytes, 4);
    let mut fresh = dial(&link).await;
    say(&mut fresh, "after").await;
    hear(&mut fresh, "after").await;
}

#[tokio::test]
async fn a_connection_that_lost_nothing_survives_a_dead_line() {
    let link = link(Conditions::default()).await;
    let mut stream = dial(&link).await;
    say(&mut stream, "before").await;
    hear(&mut stream, "before").await;
    link.change(|conditions| conditions.set_cut(Some(Cut::Swallow)));
    link.change(|conditions| conditions.set_cut(None));
    say(&mut stream, "after").await;
    hear(&mut stream, "after").await;
}

#[tokio::test]
async fn a_way_can_be_cut_alone() {
    let link = link(Conditions::default()).await;
    let mut stream = dial(&link).await;
    link.change(|conditions| conditions.way_mut(Direction::Backward).cut = Some(Cut::Hold));
    say(&mut stream, "hello").await;
    are_handed_on(&link, 5).await;
    hears_nothing(&mut stream).await;
    assert_eq!(link.traffic().forward_bytes, 5, "the echo got it");
    assert_eq!(link.traffic().backward_bytes, 0, "its answer did not come back");
}

#[tokio::test]
async fn a_refusing_line_resets_what_there_is_and_what_comes() {
    let link = link(Conditions::default()).await;
    let mut stream = dial(&link).await;
    say(&mut stream, "hello").await;
    hear(&mut stream, "hello").await;
    link.change(|conditions| conditions.set_cut(Some(Cut::Refuse)));
    is_cut(&mut stream).await;
    // A refused connection may already be reset when it is made.
    if let Ok(mut late) = TcpStream::connect(("127.0.0.1", link.port())).await {
        is_cut(&mut late).await;
    }
    let traffic = link.traffic();
    assert_eq!((traffic.resets, traffic.refused), (1, 1));
}

#[tokio::test]
async fn a_reset_ends_connections_and_allows_new_ones() {
    let link = link(Conditions::default()).await;
    let mut stream = dial(&link).await;
    say(&mut stream, "hello").await;
    hear(&mut stream, "hello").await;
    link.reset();
    is_cut(&mut stream).await;
    let mut fresh = dial(&link).await;
    say(&mut fresh, "again").await;
    hear(&mut fresh, "again").await;
}

#[tokio::test]
async fn connections_of_a_shaky_line_do_not_live_long() {
    let link = link(Conditions { lifetime: Some(30 * MS), ..Conditions::default() }).await;
    let mut stream = dial(&link).await;
    is_cut(&mut stream).await;
}

#[tokio::test]
async fn without_a_target_nobody_answers() {
    let link = Link::open(Conditions::default(), 1).await.unwrap();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", link.port())).await {
        is_cut(&mut stream).await;
    }
    link.set_target(Some(echo().await));
    let mut stream = dial(&link).await;
    say(&mut stream, "hello").await;
    hear(&mut stream, "hello").await;
}

#[tokio::test]
async fn a_dropped_link_takes_its_connections_with_it() {
    let link = link(Conditions::default()).await;
    let mut stream = dial(&link).await;
    say(&mut stream, "hello").await;
    hear(&mut stream, "hello").await;
    drop(link);
    is_cut(&mut stream).await;
}
