module lan-chat

go 1.19
