"""Events on communes since 1943 (mergers, splits, code changes), as INSEE re-issues them every year."""
