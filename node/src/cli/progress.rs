//! Progress bars: on standard error, and only when a person looks at it.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nodespace_node::model::Progress;

/// How often a bar without news moves, so that one sees that it lives.
const TICK: Duration = Duration::from_millis(200);

/// How far something is.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
    has_total: bool,
}

impl Bar {
    /// A bar that shows nothing before its first news.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if io::stderr().is_terminal() {
            bar.enable_steady_tick(TICK);
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar, has_total: false }
    }

    /// Shows how far it is.
    pub(crate) fn show(&mut self, progress: &Progress) {
        if let Some(total) = progress.total {
            if !self.has_total {
                self.has_total = true;
                // The template is checked by a test; without it the bar would only look different.
                if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                    self.bar.set_style(style);
                }
            }
            self.bar.set_length(total);
        }
        self.bar.set_position(progress.done);
        self.bar.set_message(progress.step.clone());
    }

    /// Takes the bar away: what comes next is the answer.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

const TEMPLATE: &str = "{msg} [{wide_bar}] {human_pos}/{human_len} ({per_sec}, {eta})";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_understood() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
