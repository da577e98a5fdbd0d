-- What docker-compose.yml puts into its new database, so that there is something to follow.
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10, 2) NOT NULL);
CREATE TABLE orders (id bigint PRIMARY KEY, item bigint NOT NULL, quantity int NOT NULL, status text NOT NULL);
INSERT INTO items SELECT n, 'item ' || n, n * 1.25 FROM generate_series(1, 100) n;
INSERT INTO orders SELECT n, n % 100 + 1, n % 7 + 1, (ARRAY['new', 'paid', 'sent'])[n % 3 + 1]
    FROM generate_series(1, 1000) n;
