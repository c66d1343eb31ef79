mod alerts;
mod budget;
