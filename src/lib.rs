//! Composable resilience.
