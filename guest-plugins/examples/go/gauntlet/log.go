package gauntlet

// Debug writes to the gateway's log, in bounded lines.
func Debug(message string) { write(0, message) }

// Info writes to the gateway's log, in bounded lines.
func Info(message string) { write(1, message) }

// Warn writes to the gateway's log, in bounded lines.
func Warn(message string) { write(2, message) }

// Error writes to the gateway's log, in bounded lines.
func Error(message string) { write(3, message) }
