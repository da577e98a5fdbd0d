-- In sqlite3's shell; BRIDGE and the shape are yours:
--
--     sqlite3 app.db '.load ./tombolo' '.read extension.sql'
SELECT 'synced' WHERE tombolo_sync('http://127.0.0.1:3000', 'items where owner = 7') IS NOT NULL;
INSERT INTO items(id, owner, name) VALUES (400, 7, 'from the shell');
SELECT 'sent' WHERE tombolo_sync('http://127.0.0.1:3000', 'items where owner = 7') IS NOT NULL;
SELECT id, name FROM items ORDER BY id;
