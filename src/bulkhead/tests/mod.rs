mod adaptive;
mod layer;
#[cfg(moneta_loom)]
mod loom;
mod machine;
mod partition;
mod samples;
mod simulation;
mod storm;
