//! What applications send and get: the words of the local API, of the command line and of its JSON output.
//!
//! One set of types serves all three, so that what `nodespace node get --json` prints is what `GET /v1/nodes/{id}` answers. Times are
//! RFC 3339 in UTC with milliseconds; ids, hashes and cursors are strings. Unknown members of a request are refused: a misspelt
//! `parent_Id` must not quietly become "top level".

pub mod batch;
pub mod change;
pub mod conflict;
pub mod error;
pub mod import;
pub mod maintenance;
pub mod membership;
pub mod network;
pub mod node;
pub mod relay;
pub mod search;
pub mod status;
pub mod task;
pub mod time;

pub use batch::{BatchItem, BatchOutcome, BatchReply, BatchRequest};
pub use change::{Change, ChangeKind, ChangePage, Origin};
pub use conflict::{ConflictDetail, ConflictPage, ConflictSummary, ResolveChoice, ResolveRequest};
pub use error::{ErrorBody, ErrorCode, ServiceError};
pub use import::{DocumentOutcome, ExportQuery, ImportCounts, ImportDocument, ImportReport, ImportRequest};
pub use maintenance::{BackupReport, BackupRequest, DoctorReport, DoctorRequest, Finding, RebuildReport, RestoreReport, Severity};
pub use membership::{
    AddDevice, AddMember, CreateInvite, CreateWorkspace, DeviceEntry, DeviceIdentity, DeviceInvitation, DeviceList, Invitation,
    InviteEntry, InviteList, JoinFailure, JoinReport, JoinRequest, Joined, MemberEntry, MemberList, MembershipChange, SetRole,
    UpdateWorkspace, WorkspaceList, WorkspaceState, WorkspaceSummary,
};
pub use network::{AddPeer, NatStatus, NetworkStatus, PeerStatus};
pub use node::{
    CreateNode, DeleteNode, HistoryStep, MoveNode, Node, NodePage, PlaceRequest, PutEmbedding, TextEdit, TreeLine, TreePage, UpdateNode,
    WriteReply,
};
pub use relay::{AddRelay, RelayAlarm, RelayCheck, RelayCheckList, RelayEntry, RelayList, RelaySource, RelayWord};
pub use search::{SearchFilters, SearchHit, SearchMode, SearchReply, SearchRequest};
pub use status::{ProjectionStatus, StoreStatus, WorkspaceStatus};
pub use task::{Progress, TaskLine};
