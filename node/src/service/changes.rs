//! The change stream, page by page: who watches pulls, at its own pace, and misses nothing.

use crate::engine::{Cursor, Position, Workspace};
use crate::model::{ChangePage, ErrorCode, ServiceError};

impl Workspace {
    /// The changes after a cursor. Without one: none, and the cursor of now. With `start`: from the first operation.
    ///
    /// # Errors
    /// When the text is no cursor.
    pub async fn changes(&self, cursor: Option<&str>, limit: usize) -> Result<ChangePage, ServiceError> {
        let feed = self.feed();
        let Some(cursor) = cursor else {
            return Ok(ChangePage { changes: Vec::new(), cursor: feed.end().to_string(), more: false });
        };
        let cursor = self.cursor(cursor)?;
        Ok(self.read(move |replica| feed.page(replica, cursor, limit)).await??)
    }

    /// Waits until there is something after a cursor.
    ///
    /// # Errors
    /// When the text is no cursor, or the device is stopping.
    pub async fn changed(&self, cursor: &str) -> Result<(), ServiceError> {
        let cursor = self.cursor(cursor)?;
        let feed = self.feed();
        let mut watch = feed.watch();
        // A cursor of another store is answered at once, with a reset.
        let foreign = feed.must_reset(cursor);
        let beyond = |end: &Position| foreign || *end > cursor.position;
        watch.wait_for(beyond).await.map(drop).map_err(|_| ServiceError::stopping())
    }

    fn cursor(&self, text: &str) -> Result<Cursor, ServiceError> {
        if text == "start" {
            return Ok(self.feed().start());
        }
        text.parse().map_err(|message: String| ServiceError::new(ErrorCode::InvalidRequest, message))
    }
}
