-- Runs once, when the server's data folder is still empty: the databases of the stack beside minerva.
CREATE ROLE expert NOLOGIN;
CREATE ROLE metis NOLOGIN;
CREATE DATABASE expert OWNER expert TEMPLATE template0 ENCODING 'UTF8' LOCALE 'en_US.utf8';
CREATE DATABASE metis OWNER metis TEMPLATE template0 ENCODING 'UTF8' LOCALE 'en_US.utf8';
