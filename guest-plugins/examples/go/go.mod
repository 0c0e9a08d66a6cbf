module policy.example/my-policy

go 1.24
