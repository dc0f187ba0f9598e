//! The log: operations in the order of their versions, with the signatures that prove them.

use std::sync::Arc;

use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{OpHash, WorkspaceId};
use nodespace_protocol::op::{Header, Op};
use nodespace_protocol::view::RunningHash;
use sqlx::{PgConnection, PgPool};

use super::{StoreError, bytes32, signed, unsigned};

/// One operation of the log.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// Its version.
    pub version: u64,
    /// The operation, without its attachment.
    pub op: Arc<Op>,
    /// By its author over its hash, when it ended a segment.
    pub signature: Option<Signature>,
    /// The hash over the log up to it, when it ended a segment.
    pub running: Option<RunningHash>,
}

/// How much a page may hold. A page ends with a whole segment, so it may exceed both by one.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Operations.
    pub operations: u32,
    /// Bytes of headers and payloads.
    pub bytes: u32,
}

/// Where a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEnd {
    /// The version of its last operation.
    pub version: u64,
    /// The hash over the log up to there.
    pub running: RunningHash,
}

/// Operations to be added, in the order of their versions.
#[derive(Clone, Debug, Default)]
pub(crate) struct OperationRows {
    hashes: Vec<Vec<u8>>,
    headers: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
    sizes: Vec<i32>,
    signatures: Vec<Option<Vec<u8>>>,
    running_hashes: Vec<Option<Vec<u8>>>,
    running: RunningHash,
    bytes: u64,
}

impl OperationRows {
    /// Rows that go on from a running hash.
    pub(crate) fn after(running: RunningHash) -> Self {
        Self { running, ..Self::default() }
    }

    pub(crate) fn push(&mut self, workspace: &WorkspaceId, op: &Op) {
        let header = op.header.encode(workspace);
        let size = header.len() + op.payload.len();
        self.running = self.running.then(&op.hash);
        self.hashes.push(op.hash.0.to_vec());
        self.headers.push(header);
        self.payloads.push(op.payload.to_vec());
        self.sizes.push(i32::try_from(size).unwrap_or(i32::MAX));
        self.signatures.push(None);
        self.running_hashes.push(None);
        self.bytes += size as u64;
    }

    /// The last operation ends a segment.
    pub(crate) fn sign_last(&mut self, signature: &Signature) {
        if let (Some(last), Some(running)) = (self.signatures.last_mut(), self.running_hashes.last_mut()) {
            *last = Some(signature.0.to_vec());
            *running = Some(self.running.0.to_vec());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(crate) const fn running(&self) -> RunningHash {
        self.running
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds them after a version.
    pub(crate) async fn write(&self, transaction: &mut PgConnection, workspace: i64, after: u64) -> Result<(), StoreError> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        let insert = sqlx::query!(
            "INSERT INTO operations (workspace, version, op_hash, header, payload, size, signature, running_hash) \
             SELECT $1, $2 + place, op_hash, header, payload, size, signature, running_hash \
             FROM UNNEST($3::bytea[], $4::bytea[], $5::bytea[], $6::integer[], $7::bytea[], $8::bytea[]) \
             WITH ORDINALITY AS new (op_hash, header, payload, size, signature, running_hash, place)",
            workspace,
            signed(after),
            &self.hashes,
            &self.headers,
            &self.payloads,
            &self.sizes,
            &self.signatures as &[Option<Vec<u8>>],
            &self.running_hashes as &[Option<Vec<u8>>]
        );
        insert.execute(transaction).await.map(drop).map_err(StoreError::doing("adding operations"))
    }
}

/// Reads the rows of some versions, both ends included.
pub(crate) async fn range(pool: &PgPool, workspace: i64, first: u64, last: u64) -> Result<Vec<LogRow>, StoreError> {
    let rows = sqlx::query!(
        "SELECT version, op_hash, header, payload, signature, running_hash FROM operations \
         WHERE workspace = $1 AND version BETWEEN $2 AND $3 ORDER BY version",
        workspace,
        signed(first),
        signed(last)
    );
    let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("reading operations"))?;
    rows.into_iter()
        .map(|row| log_row((row.version, &row.op_hash), (&row.header, row.payload), (row.signature, row.running_hash)))
        .collect()
}

/// Reads the operations with some hashes; those that are not there are left out.
pub(crate) async fn by_hash(pool: &PgPool, workspace: i64, hashes: &[OpHash]) -> Result<Vec<LogRow>, StoreError> {
    let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.0.to_vec()).collect();
    let rows = sqlx::query!(
        "SELECT version, op_hash, header, payload, signature, running_hash FROM operations WHERE workspace = $1 AND op_hash = ANY($2)",
        workspace,
        &hashes
    );
    let rows = rows.fetch_all(pool).await.map_err(StoreError::doing("looking for operations"))?;
    rows.into_iter()
        .map(|row| log_row((row.version, &row.op_hash), (&row.header, row.payload), (row.signature, row.running_hash)))
        .collect()
}

/// Where a page after a version ends: with the segment in which the first bound is reached. `None` when nothing comes after.
pub(crate) async fn page_end(pool: &PgPool, workspace: i64, after: u64, bounds: PageBounds) -> Result<Option<PageEnd>, StoreError> {
    // Sizes are summed along the index; what the page holds is read when its end is known, so an operation of a MiB is never read in vain.
    let row = sqlx::query!(
        r#"WITH page AS (
             SELECT version, sum(size) OVER (ORDER BY version) - size AS before
             FROM (SELECT version, size FROM operations WHERE workspace = $1 AND version > $2 ORDER BY version LIMIT $3) AS candidates
           )
           SELECT version, running_hash AS "running_hash!" FROM operations
           WHERE workspace = $1 AND signature IS NOT NULL AND version >= (SELECT max(version) FROM page WHERE before < $4)
           ORDER BY version LIMIT 1"#,
        workspace,
        signed(after),
        i64::from(bounds.operations),
        i64::from(bounds.bytes)
    );
    let row = row.fetch_optional(pool).await.map_err(StoreError::doing("cutting a page"))?;
    let end = |version: i64, running: &[u8]| -> Result<PageEnd, StoreError> {
        Ok(PageEnd { version: unsigned(version, "operations")?, running: RunningHash(bytes32(running, "operations")?) })
    };
    row.map(|row| end(row.version, &row.running_hash)).transpose()
}

/// The running hash at a version, when a segment ends there.
pub(crate) async fn running_at(pool: &PgPool, workspace: i64, version: u64) -> Result<Option<RunningHash>, StoreError> {
    let row = sqlx::query_scalar!("SELECT running_hash FROM operations WHERE workspace = $1 AND version = $2", workspace, signed(version));
    let row = row.fetch_optional(pool).await.map_err(StoreError::doing("reading the running hash"))?;
    row.flatten().map(|running| bytes32(&running, "operations").map(RunningHash)).transpose()
}

fn log_row(
    (version, hash): (i64, &[u8]),
    (header, payload): (&[u8], Vec<u8>),
    (signature, running): (Option<Vec<u8>>, Option<Vec<u8>>),
) -> Result<LogRow, StoreError> {
    let version = unsigned(version, "operations")?;
    let place = || format!("operation {version}");
    let hash = OpHash(bytes32(hash, &place())?);
    let (_, header) = Header::decode(header).map_err(|error| StoreError::corrupt(place(), error))?;
    let signature = signature.map(|bytes| bytes.as_slice().try_into().map(Signature));
    let signature = signature.transpose().map_err(|_| StoreError::corrupt(place(), "a signature that is none"))?;
    let running = running.map(|bytes| bytes32(&bytes, &place()).map(RunningHash)).transpose()?;
    let op = Arc::new(Op { hash, header, payload: payload.into(), attachment: None });
    Ok(LogRow { version, op, signature, running })
}
