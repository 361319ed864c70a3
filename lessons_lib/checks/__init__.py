"""What an exercise's answer must satisfy: one file per lesson, one function per exercise."""
