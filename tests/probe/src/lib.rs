//! Holds real sessions through any change to a fleet and proves that nothing was lost.
