//! The real reconcile loop against an engine, rows and a proxy in memory, on a clock that only moves when nothing else does.
//!
//! `flows` breaks every act of the core flows in every way; `seeds` runs random edits with random faults; `cases` holds the
//! named cases. All of them ask the same oracles. A failed run says how to run it alone.
#![expect(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking, its helpers too")]

mod cases;
mod edge;
mod faults;
mod flows;
mod oracles;
mod process;
mod seeds;
mod specs;
mod world;
