//! `segsync plan`: its arithmetic against the schedule and the budget themselves, and the verb as people meet it.

mod truth;
mod verb;
