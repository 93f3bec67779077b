//! Commands of the program on a real engine.
