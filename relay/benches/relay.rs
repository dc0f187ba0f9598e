//! The relay's figures: what it takes in and hands out, beside the same rows written by plain SQL in the same run.
//!
//! ```text
//! cargo bench -p nodespace-relay --profile relay --bench relay                 # all but the faults
//! cargo bench -p nodespace-relay --profile relay --bench relay -- ingest hot   # some: ingest hot pull poll notify faults
//! cargo bench -p nodespace-relay --profile relay --bench relay -- faults --ops 1000000 --writers 64
//! ```
//!
//! PostgreSQL and Redis are started for the run, on the same machine as the relay and the load.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on has nothing to tell")]

#[path = "../tests/it/cluster.rs"]
mod cluster;
#[path = "../tests/it/load.rs"]
mod load;
#[path = "../tests/it/servers.rs"]
mod servers;
#[path = "../tests/it/world.rs"]
mod world;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cluster::Cluster;
use futures::StreamExt as _;
use load::{Seen, Team, check, push_all};
use nodespace_protocol::view::Cursor;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const PACKET_OPS: usize = 50;

/// Hash, header, payload, size, signature and running hash of an operation.
type LogRow = (Vec<u8>, Vec<u8>, Vec<u8>, i32, Option<Vec<u8>>, Option<Vec<u8>>);

#[derive(Debug)]
struct Options {
    what: Vec<String>,
    ops: usize,
    writers: usize,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { what: Vec::new(), ops: 100_000, writers: 64 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number follows");
            match argument.as_str() {
                "--ops" => options.ops = number(),
                "--writers" => options.writers = number(),
                "--bench" => {}
                _ => options.what.push(argument),
            }
        }
        options
    }

    fn wants(&self, what: &str) -> bool {
        if self.what.is_empty() { what != "faults" } else { self.what.iter().any(|wanted| wanted == what) }
    }
}

fn main() {
    let options = Options::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(&options));
}

async fn run(options: &Options) {
    let program = env!("CARGO_BIN_EXE_nodespace-relay");
    if options.wants("ingest") {
        ingest(program, 16, 16, options.ops).await;
    }
    if options.wants("hot") {
        ingest(program, 1, 16, options.ops / 2).await;
    }
    if options.wants("pull") || options.wants("poll") || options.wants("notify") {
        reading(program, options).await;
    }
    if options.wants("faults") {
        faults(program, options).await;
    }
}

fn percentile(sorted: &[Duration], part: f64) -> f64 {
    let at = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1e3)
}

/// Everybody pushes packets as fast as they are acknowledged; then the very rows that came of it are written once more by plain SQL.
async fn ingest(program: &str, workspaces: usize, writers: usize, ops: usize) {
    let cluster = Cluster::start(program, 1).await;
    let http = world::http();
    let each = writers / workspaces.min(writers);
    let mut teams: Vec<Team> =
        (0..workspaces).map(|seed| Team::new(seed as u64, each.max(1), &http, &cluster.url, cluster.relay_id)).collect();
    for team in &mut teams {
        team.found().await;
    }
    let packets = ops / writers / PACKET_OPS;
    // What comes first opens connections and fills caches.
    let (_, _) = push(&mut teams, packets / 10 + 1).await;
    let (took, mut latencies) = push(&mut teams, packets).await;
    latencies.sort_unstable();
    let pushed = writers * packets * PACKET_OPS;
    let rate = pushed as f64 / took.as_secs_f64();
    let resident = cluster.resident_bytes().iter().max().copied().unwrap_or(0) >> 20;
    let pool = PgPoolOptions::new().max_connections(writers as u32).connect(&cluster.postgres.url()).await.unwrap();
    let (log_only, all_rows) =
        (plain(&pool, writers, workspaces, packets, false).await, plain(&pool, writers, workspaces, packets, true).await);
    println!(
        "ingest   {workspaces:>2} workspaces, {writers} writers, packets of {PACKET_OPS}: {rate:>8.0} ops/s; packet p50 {:.1} ms, p99 {:.1} ms; \
         relay {resident} MiB",
        percentile(&latencies, 0.5),
        percentile(&latencies, 0.99),
    );
    println!(
        "         the same rows by plain SQL: {all_rows:>8.0} ops/s with nodes ({:.0} %), {log_only:>8.0} ops/s the log alone ({:.0} %)",
        100.0 * rate / all_rows,
        100.0 * rate / log_only
    );
}

/// Has everybody push so many packets. They are written before the clock starts, as the rows of plain SQL are read before it.
async fn push(teams: &mut [Team], packets: usize) -> (Duration, Vec<Duration>) {
    teams.iter_mut().flat_map(|team| &mut team.writers).for_each(|writer| writer.prepare(packets, PACKET_OPS));
    let started = Instant::now();
    let mut writing = push_all(teams, packets, PACKET_OPS);
    let mut latencies = Vec::new();
    while let Some(done) = writing.join_next().await {
        let (number, writer, took) = done.unwrap();
        teams[number].writers.push(writer);
        latencies.extend(took);
    }
    (started.elapsed(), latencies)
}

/// The end of the log as it is now.
async fn latest(team: &mut Team) -> Cursor {
    let mut seen = Seen::default();
    seen.read_to_end(&mut team.reader).await;
    seen.cursor
}

/// Writes copies of the relay's rows, in batches of the same size, over as many connections, each batch a transaction that moves a counter.
async fn plain(pool: &PgPool, writers: usize, workspaces: usize, packets: usize, nodes: bool) -> f64 {
    for sql in [
        "DROP TABLE IF EXISTS plain_operations, plain_nodes, plain_counters, plain_source",
        "CREATE TABLE plain_operations (LIKE operations INCLUDING ALL) PARTITION BY HASH (workspace)",
        "CREATE TABLE plain_nodes (LIKE nodes INCLUDING ALL) PARTITION BY HASH (workspace)",
        "CREATE TABLE plain_counters (workspace bigint PRIMARY KEY, version bigint NOT NULL) WITH (fillfactor = 50)",
    ] {
        sqlx::query(sql).execute(pool).await.unwrap();
    }
    for (table, part) in ["plain_operations", "plain_nodes"].iter().flat_map(|table| (0..16).map(move |part| (table, part))) {
        let sql = format!("CREATE TABLE {table}_{part} PARTITION OF {table} FOR VALUES WITH (MODULUS 16, REMAINDER {part})");
        sqlx::query(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }
    sqlx::query("INSERT INTO plain_counters SELECT n, 0 FROM generate_series(0, $1::bigint - 1) AS n")
        .bind(workspaces as i64)
        .execute(pool)
        .await
        .unwrap();
    // The rows are read before the clock starts.
    let ops: Vec<LogRow> = sqlx::query_as("SELECT op_hash, header, payload, size, signature, running_hash FROM operations LIMIT $1")
        .bind((packets * PACKET_OPS) as i64)
        .fetch_all(pool)
        .await
        .unwrap();
    let states: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT node_id, state FROM nodes LIMIT 20000").fetch_all(pool).await.unwrap();
    let (ops, states) = (std::sync::Arc::new(ops), std::sync::Arc::new(states));
    let mut writing = JoinSet::new();
    let started = Instant::now();
    for writer in 0..writers {
        let (pool, ops, states) = (pool.clone(), std::sync::Arc::clone(&ops), std::sync::Arc::clone(&states));
        let workspace = (writer % workspaces) as i64;
        writing.spawn(async move {
            let mut done = 0;
            for (number, batch) in ops.chunks(PACKET_OPS).enumerate() {
                let mut transaction = pool.begin().await.unwrap();
                let locked: i64 = sqlx::query_scalar("SELECT version FROM plain_counters WHERE workspace = $1 FOR UPDATE")
                    .bind(workspace)
                    .fetch_one(&mut *transaction)
                    .await
                    .unwrap();
                // A hash of its own for each writer, or the constraint would refuse it.
                let own = |hash: &[u8]| [&hash[..28], &(writer as u32).to_le_bytes()].concat();
                let hashes: Vec<Vec<u8>> = batch.iter().map(|row| own(&row.0)).collect();
                let headers: Vec<&[u8]> = batch.iter().map(|row| row.1.as_slice()).collect();
                let payloads: Vec<&[u8]> = batch.iter().map(|row| row.2.as_slice()).collect();
                let sizes: Vec<i32> = batch.iter().map(|row| row.3).collect();
                let signatures: Vec<Option<&[u8]>> = batch.iter().map(|row| row.4.as_deref()).collect();
                let running: Vec<Option<&[u8]>> = batch.iter().map(|row| row.5.as_deref()).collect();
                sqlx::query(
                    "INSERT INTO plain_operations (workspace, version, op_hash, header, payload, size, signature, running_hash) \
                     SELECT $1, $2 + place, op_hash, header, payload, size, signature, running_hash \
                     FROM UNNEST($3::bytea[], $4::bytea[], $5::bytea[], $6::integer[], $7::bytea[], $8::bytea[]) \
                     WITH ORDINALITY AS new (op_hash, header, payload, size, signature, running_hash, place)",
                )
                .bind(workspace)
                .bind(locked)
                .bind(&hashes)
                .bind(&headers)
                .bind(&payloads)
                .bind(&sizes)
                .bind(&signatures)
                .bind(&running)
                .execute(&mut *transaction)
                .await
                .unwrap();
                if nodes {
                    // As many nodes as a packet touches: a tenth are made, the others changed again.
                    let touched = PACKET_OPS / 10 + 1;
                    let first = number * touched % states.len().saturating_sub(touched).max(1);
                    let some = &states[first..(first + touched).min(states.len())];
                    let ids: Vec<String> = some.iter().map(|(id, _)| format!("{writer}-{id}")).collect();
                    let bytes: Vec<&[u8]> = some.iter().map(|(_, state)| state.as_slice()).collect();
                    sqlx::query(
                        "INSERT INTO plain_nodes (workspace, node_id, version, state) SELECT $1, node_id, $2, state \
                         FROM UNNEST($3::text[], $4::bytea[]) AS new (node_id, state) \
                         ON CONFLICT (workspace, node_id) DO UPDATE SET version = excluded.version, state = excluded.state",
                    )
                    .bind(workspace)
                    .bind(locked)
                    .bind(&ids)
                    .bind(&bytes)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                }
                sqlx::query("UPDATE plain_counters SET version = $2 WHERE workspace = $1")
                    .bind(workspace)
                    .bind(locked + batch.len() as i64)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
                done += batch.len();
            }
            done
        });
    }
    let mut written = 0;
    while let Some(done) = writing.join_next().await {
        written += done.unwrap();
    }
    let rate = written as f64 / started.elapsed().as_secs_f64();
    sqlx::query("DROP TABLE plain_operations, plain_nodes, plain_counters").execute(pool).await.unwrap();
    rate
}

/// One workspace that has been filled: read from the beginning, polled, listened to.
async fn reading(program: &str, options: &Options) {
    let cluster = Cluster::start(program, 2).await;
    let http = world::http();
    let mut teams = vec![Team::new(1, 4, &http, &cluster.url, cluster.relay_id)];
    teams[0].found().await;
    push(&mut teams, options.ops / 4 / PACKET_OPS).await;
    let team = &mut teams[0];
    if options.wants("pull") {
        let (started, mut cursor, mut pages, mut ops) = (Instant::now(), Cursor::default(), 0, 0);
        loop {
            let response = team.reader.sync(&team.reader.pull(cursor)).await;
            ops += response.latest_version - cursor.version;
            (cursor, pages) = (response.cursor(), pages + 1);
            if !response.more {
                break;
            }
        }
        println!(
            "pull     {ops} operations from a cold cursor in {pages} pages: {:>8.0} ops/s",
            ops as f64 / started.elapsed().as_secs_f64()
        );
    }
    if options.wants("poll") {
        let cursor = latest(team).await;
        let mut took = Vec::new();
        for _ in 0..1_000 {
            let started = Instant::now();
            team.reader.sync(&team.reader.pull(cursor)).await;
            took.push(started.elapsed());
        }
        took.sort_unstable();
        println!("poll     nothing new: p50 {:.2} ms, p99 {:.2} ms", percentile(&took, 0.5), percentile(&took, 0.99));
    }
    if options.wants("notify") {
        notify(team).await;
    }
}

/// How long after a push begins its hint is there, at a connection to the other instance.
async fn notify(team: &mut Team) {
    team.reader.sync(&team.reader.pull(Cursor::default())).await;
    let url = format!("{}/v1/workspaces/{}/events", team.reader.url.replacen("http", "ws", 1), team.workspace);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", team.reader.token().unwrap()).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let mut next = async |after: u64| loop {
        if let Some(Ok(Message::Text(text))) = socket.next().await {
            let hint: serde_json::Value = serde_json::from_str(&text).unwrap();
            if hint["version"].as_u64().unwrap() > after {
                return hint["version"].as_u64().unwrap();
            }
        }
    };
    let mut version = next(0).await;
    let mut took = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        let writer = &mut team.writers[0];
        let (_, packet) = writer.packet(1);
        let pushing = writer.session.sync(&packet);
        let (seen, _) = tokio::join!(next(version), pushing);
        version = seen;
        took.push(started.elapsed());
    }
    took.sort_unstable();
    println!("notify   a push shows at the other instance: p50 {:.1} ms, p99 {:.1} ms", percentile(&took, 0.5), percentile(&took, 0.99));
}

/// Writers and readers for as long as it takes, while relays are killed every 5 s, Redis is killed and flushed every 10 s, and PostgreSQL is
/// restarted every 25 s.
async fn faults(program: &str, options: &Options) {
    const WORKSPACES: usize = 16;
    let mut cluster = Cluster::start(program, 2).await;
    let http = world::http();
    let each = options.writers / WORKSPACES;
    let mut teams: Vec<Team> = (0..WORKSPACES).map(|seed| Team::new(seed as u64, each, &http, &cluster.url, cluster.relay_id)).collect();
    for team in &mut teams {
        team.found().await;
    }
    let (done, is_done) = tokio::sync::watch::channel(false);
    let readers: Vec<_> = teams
        .iter()
        .map(|team| {
            let (mut reader, mut is_done) = (team.reader.clone(), is_done.clone());
            tokio::spawn(async move {
                let mut seen = Seen::default();
                loop {
                    seen.read_to_end(&mut reader).await;
                    seen.segments.clear();
                    let over = tokio::time::timeout(Duration::from_millis(500), is_done.changed()).await;
                    if over.is_ok() {
                        seen.read_to_end(&mut reader).await;
                        return seen;
                    }
                }
            })
        })
        .collect();
    let packets = options.ops / options.writers / PACKET_OPS;
    let started = Instant::now();
    let mut writing = push_all(&mut teams, packets, PACKET_OPS);
    let (mut second, mut resident, mut counts, mut latencies) = (0_u64, 0, [0; 3], Vec::new());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    // A restart can take seconds: what was missed is not made up for, or relays would be killed while they start.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let before = load::ACKNOWLEDGED.load(Ordering::Relaxed);
    while !writing.is_empty() {
        tokio::select! {
            Some(done) = writing.join_next() => {
                let (number, writer, took) = done.unwrap();
                teams[number].writers.push(writer);
                latencies.extend(took);
            }
            _ = ticks.tick() => {
                second += 1;
                resident = resident.max(cluster.resident_bytes().into_iter().max().unwrap_or(0));
                if second.is_multiple_of(10) {
                    let done = load::ACKNOWLEDGED.load(Ordering::Relaxed) - before;
                    println!("         {:>4.0} s: {done} operations acknowledged", started.elapsed().as_secs_f64());
                }
                if second.is_multiple_of(25) {
                    cluster.restart_postgres().await;
                    counts[0] += 1;
                }
                if second.is_multiple_of(10) {
                    cluster.redis.flush().await.unwrap();
                    cluster.crash_redis().await;
                    counts[1] += 1;
                }
                if second.is_multiple_of(5) {
                    cluster.kill_relay((second / 5 % 2) as usize).await;
                    counts[2] += 1;
                }
            }
        }
    }
    let took = started.elapsed();
    done.send(true).unwrap();
    let mut verdicts = Vec::new();
    for (team, reader) in teams.iter_mut().zip(readers) {
        let seen = reader.await.unwrap();
        verdicts.push(check(team, &seen).await);
    }
    latencies.sort_unstable();
    let sum = |of: fn(&load::Verdict) -> usize| verdicts.iter().map(of).sum::<usize>();
    println!(
        "faults   {} writers, {WORKSPACES} workspaces, {} operations acknowledged in {:.0} s: {} lost, {} duplicated, {} skipped; \
         {} relays killed, Redis killed and flushed {} times, PostgreSQL restarted {} times; packet p50 {:.0} ms, p99 {:.0} ms; relay at most {} MiB",
        options.writers,
        sum(|verdict| verdict.acknowledged),
        took.as_secs_f64(),
        sum(|verdict| verdict.lost),
        sum(|verdict| verdict.duplicated),
        sum(|verdict| verdict.skipped),
        counts[2],
        counts[1],
        counts[0],
        percentile(&latencies, 0.5),
        percentile(&latencies, 0.99),
        resident >> 20,
    );
}
