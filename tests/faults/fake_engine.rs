//! Engines that answer as none should.
