-- create_table
-- What the disk does not hold about a file or folder. A row belongs to one state of one inode: a file that another process has written
-- since no longer matches its row and falls back to what the disk alone says. Folders change their time with each child: stamp and size 0.
CREATE TABLE IF NOT EXISTS properties (
    etag       INTEGER PRIMARY KEY AUTOINCREMENT,
    inode      INTEGER NOT NULL,
    stamp_ns   INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    properties TEXT NOT NULL,
    UNIQUE (inode, stamp_ns, size_bytes)
);

-- record
-- Takes a new entity tag each time, never used before: REPLACE deletes an equal row, AUTOINCREMENT counts on.
INSERT OR REPLACE INTO properties (inode, stamp_ns, size_bytes, properties)
VALUES (:inode, :stamp_ns, :size_bytes, :properties);

-- find
SELECT etag, properties FROM properties WHERE inode = :inode AND stamp_ns = :stamp_ns AND size_bytes = :size_bytes;

-- forget
DELETE FROM properties WHERE inode = :inode;

-- forget_other_states
-- After a change in place: the states that this inode had before.
DELETE FROM properties WHERE inode = :inode AND NOT (stamp_ns = :stamp_ns AND size_bytes = :size_bytes);
