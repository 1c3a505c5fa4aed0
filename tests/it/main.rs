mod forgejo;
mod gate;
mod repository;
