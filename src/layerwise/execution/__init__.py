"""A study carried out: `tasks` says what there is to compute, `executors` where, `recording` keeps what comes of it."""
