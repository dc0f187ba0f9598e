-- The relay's first tables: one log for each workspace, what it folds to, who may read it.
--
-- Everything of a workspace is in partitions by the workspace's number, so that no index grows with all workspaces together and a
-- distributed engine can spread them. `operations` is the truth; `nodes`, `member_users` and `member_devices` are what the protocol
-- makes of it, written in the transaction that adds the operations.

-- The relay itself: one row.
CREATE TABLE relay (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The key that signs checkpoints: a database belongs to one relay.
    public_key  bytea NOT NULL CHECK (octet_length(public_key) = 32),
    -- The incarnation of all logs: changes when operations that were acknowledged may be gone (a restored backup).
    epoch       bigint NOT NULL,
    -- Counts up while a relay runs: less than what a relay remembers means that the database is an older one.
    beat        bigint NOT NULL DEFAULT 0,
    epoch_since timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE workspaces (
    -- Short, for the keys of everything else.
    number             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                 bytea NOT NULL UNIQUE CHECK (octet_length(id) = 32),
    -- The counter: versions are given out under this row's lock, so they are gapless and in the order of commits.
    version            bigint NOT NULL DEFAULT 0,
    running_hash       bytea NOT NULL,
    -- Bytes of headers and payloads, of attachments: what the quota counts.
    bytes              bigint NOT NULL DEFAULT 0,
    attachment_bytes   bigint NOT NULL DEFAULT 0,
    -- Some stored operation is ahead of time: `nodes` does not show it yet.
    held               boolean NOT NULL DEFAULT false,
    -- Who brought it, for the quota of workspaces.
    founder            bytea NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    changed_at         timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE INDEX workspaces_founder ON workspaces (founder);

CREATE TABLE operations (
    workspace    bigint NOT NULL,
    version      bigint NOT NULL,
    op_hash      bytea NOT NULL,
    header       bytea NOT NULL,
    payload      bytea NOT NULL,
    -- Bytes of header and payload: pages of a pull are cut by it.
    size         integer NOT NULL,
    -- On the last operation of a segment: by its author over its hash, and the running hash of the log up to it.
    signature    bytea,
    running_hash bytea,
    stored_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace, version),
    UNIQUE (workspace, op_hash)
) PARTITION BY HASH (workspace);

-- The canonical version of each node.
CREATE TABLE nodes (
    workspace bigint NOT NULL,
    node_id   text COLLATE "C" NOT NULL,
    -- The workspace's version with which it became so.
    version   bigint NOT NULL,
    -- A `CanonicalNode` in CBOR.
    state     bytea NOT NULL,
    PRIMARY KEY (workspace, node_id)
) PARTITION BY HASH (workspace);

CREATE TABLE member_users (
    workspace bigint NOT NULL,
    user_id   bytea NOT NULL,
    role      smallint NOT NULL,
    PRIMARY KEY (workspace, user_id)
) PARTITION BY HASH (workspace);

-- Devices that workspace operations name; one without a role was removed.
CREATE TABLE member_devices (
    workspace bigint NOT NULL,
    device    bytea NOT NULL,
    user_id   bytea,
    role      smallint,
    PRIMARY KEY (workspace, device)
) PARTITION BY HASH (workspace);
CREATE INDEX member_devices_device ON member_devices (device);

-- Attachments that operations name; the bytes are in object storage.
CREATE TABLE attachments (
    workspace bigint NOT NULL,
    hash      bytea NOT NULL,
    length    integer NOT NULL,
    stored    boolean NOT NULL,
    PRIMARY KEY (workspace, hash)
) PARTITION BY HASH (workspace);

-- Where members can be reached now; what is older than its time is gone.
CREATE TABLE addresses (
    workspace  bigint NOT NULL,
    device     bytea NOT NULL,
    addresses  text[] NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (workspace, device)
) PARTITION BY HASH (workspace);

DO $$
DECLARE
    parent text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['operations', 'nodes', 'member_users', 'member_devices', 'attachments', 'addresses'] LOOP
        FOR part IN 0..15 LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 16, REMAINDER %s)', parent || '_' || lpad(part::text, 2, '0'), parent, part);
        END LOOP;
    END LOOP;
END
$$;
