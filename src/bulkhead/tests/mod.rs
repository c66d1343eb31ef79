mod adaptive;
mod layer;
#[cfg(moneta_loom)]
mod loom;
mod machine;
mod samples;
mod simulation;
mod storm;
