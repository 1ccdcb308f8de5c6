-- users with their third error; NULL in what was counted before
ALTER TABLE observation ADD COLUMN error_third_x INTEGER;
PRAGMA user_version = 2;
